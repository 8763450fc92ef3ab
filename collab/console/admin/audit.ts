import { get } from './api'
import { h } from './dom'
import { date, named, visible } from './format'
import type { Record_ } from './types'

const EACH_PAGE = 100

export async function auditView (page: HTMLElement, signal: AbortSignal): Promise<void> {
  let before: number | null = null
  const body = h('tbody', {})
  const told = h('p', { class: 'facts', role: 'status' }, 'What admins did, newest first.')
  const more = h('button', { type: 'button', class: 'quiet', hidden: true, onclick: () => void load() }, 'Show older ones')
  const room = h('input', { type: 'search', autocomplete: 'off', spellcheck: 'false', maxlength: 512 })
  const table = h('table', { class: 'audit' }, h('caption', { class: 'unseen' }, 'Audit log'),
    h('thead', {}, h('tr', {}, ...['When', 'Who', 'What', 'Room', 'From', 'Details'].map((label) => h('th', { scope: 'col' }, label)))), body)
  page.append(h('h1', {}, 'Audit log'), h('div', { class: 'controls' }, h('label', { class: 'field' }, h('span', {}, 'About the room (its exact name)'), room)), told, table, more)
  room.addEventListener('change', () => {
    before = null
    body.replaceChildren()
    void load()
  })

  async function load (): Promise<void> {
    const found: { items: Record_[], next: number | null } = await get('/audit', { limit: EACH_PAGE, before: before ?? undefined, room: room.value }, signal)
    before = found.next
    more.hidden = before === null
    body.append(...found.items.map(line))
    table.hidden = body.children.length === 0
    told.textContent = table.hidden ? 'No record.' : 'What admins did, newest first.'
  }
  await load()
}

function line (one: Record_): HTMLElement {
  const details = Object.entries(one.details).filter(([, value]) => value !== null)
    .map(([key, value]) => `${key}: ${typeof value === 'string' ? visible(value) : JSON.stringify(value)}`).join(', ')
  return h('tr', {},
    h('td', { class: 'nowrap' }, h('time', { datetime: one.time }, date(one.time))),
    h('td', {}, visible(one.who)),
    h('td', {}, h('code', {}, one.what)),
    h('td', {}, one.room === null ? '' : h('a', { href: `#/rooms/${encodeURIComponent(one.room)}` }, named(one.room))),
    h('td', {}, one.address),
    h('td', { class: 'soft' }, details))
}
