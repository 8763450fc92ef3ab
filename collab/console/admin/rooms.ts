import { get, left } from './api'
import { h, Lines, say } from './dom'
import { ago, bytes, count, named, plural } from './format'
import { Pager } from './pager'
import type { Page, Room } from './types'

const EACH_PAGE = 50
const ORDERS = [['name', 'Name'], ['-changed', 'Changed'], ['-bytes', 'Size']] as const

/** What was looked for last, so that the way back from a room leads there. */
let search = ''
let sort = 'name'

export async function roomsView (page: HTMLElement, signal: AbortSignal): Promise<void> {
  let current = new AbortController()

  const field = h('input', { type: 'search', id: 'search', value: search, placeholder: 'A part of the name', autocomplete: 'off', spellcheck: 'false', maxlength: 512 })
  const told = h('p', { class: 'facts', role: 'status' })
  const wrong = h('p', { class: 'notice', role: 'alert', hidden: true })
  const heads = ORDERS.map(([order, label]) => h('th', { scope: 'col', class: `c-${order.replace('-', '')}` },
    h('button', { type: 'button', class: 'order', 'data-order': order, onclick: () => { sort = order; first() } }, label)))
  const body = h('tbody', {})
  const pager = new Pager(() => void load())
  const table = h('table', { class: 'rooms' }, h('caption', { class: 'unseen' }, 'Rooms'),
    h('thead', {}, h('tr', {}, ...heads, h('th', { scope: 'col', class: 'c-edits' }, 'Edits'), h('th', { scope: 'col', class: 'c-here' }, 'Here'))), body)
  page.append(h('h1', {}, 'Rooms'),
    h('div', { class: 'controls' }, h('label', { class: 'field' }, h('span', {}, 'Search'), field)),
    wrong, told, table, pager.element)

  const lines = new Lines<Room>(body, (room) => room.name, (room) => {
    const cells = { changed: h('td', { class: 'c-changed' }), bytes: h('td', { class: 'c-bytes' }), edits: h('td', { class: 'c-edits' }), here: h('td', { class: 'c-here' }) }
    const link = h('a', { href: `#/rooms/${encodeURIComponent(room.name)}` }, named(room.name))
    return {
      element: h('tr', {}, h('th', { scope: 'row', class: 'c-name' }, link), cells.changed, cells.bytes, cells.edits, cells.here),
      update (one) {
        cells.changed.replaceChildren(ago(one.changed))
        say(cells.bytes, bytes(one.bytes))
        say(cells.edits, count(one.seq))
        say(cells.here, one.connections === 0 ? '' : count(one.connections))
      }
    }
  })

  async function load (): Promise<void> {
    current.abort()
    const mine = current = new AbortController()
    for (const head of heads) {
      const order = head.querySelector('button')!.dataset.order
      head.ariaSort = order !== sort ? null : order === 'name' ? 'ascending' : 'descending'
    }
    try {
      const found = await get<Page<Room> & { total: number }>('/rooms', { search, sort, limit: EACH_PAGE, cursor: pager.cursor }, mine.signal)
      pager.came(found.next)
      lines.draw(found.items)
      table.hidden = found.items.length === 0
      const from = pager.before * EACH_PAGE
      say(told, found.total === 0
        ? (search === '' ? 'No room holds anything yet.' : 'No room has this in its name.')
        : `${plural(found.total, 'room')}${found.total > found.items.length ? `, ${count(from + 1)} to ${count(from + found.items.length)} shown` : ''}`)
      wrong.hidden = true
    } catch (error) {
      if (left(error)) return
      say(wrong, error instanceof Error ? error.message : String(error))
      wrong.hidden = false
    }
  }

  function first (): void {
    pager.first()
    void load()
  }

  let timer = 0
  field.addEventListener('input', () => {
    clearTimeout(timer)
    timer = setTimeout(() => { search = field.value; first() }, 150)
  })
  signal.addEventListener('abort', () => { clearTimeout(timer); current.abort() })
  await load()
}
