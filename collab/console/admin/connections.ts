import { get, left, send } from './api'
import { ask, tell } from './dialog'
import { every, h, Lines, say } from './dom'
import { ago, bytes, named, plural, visible } from './format'
import { Pager } from './pager'
import type { Client, Page } from './types'

const EACH_PAGE = 50

/** Ask whether a client is to be sent away, and do it. */
export function disconnect (client: Client, after: () => void): void {
  const who = client.places.map((one) => one.subject).find((one) => one !== null) ?? `the client at ${client.address}`
  const away = h('input', { type: 'checkbox', id: 'stay-away' })
  ask({
    title: `Disconnect ${visible(who)}?`,
    says: [
      'What it has sent is saved. Editors come back by themselves at once, with what was typed meanwhile, unless you say that they stay away.',
      'Access is not ended by this: a page that is loaded again may connect again. It cannot be undone from here.'
    ],
    fields: [h('label', { class: 'check' }, away, h('span', {}, 'Stay away (until the page is loaded again)'))],
    does: 'Disconnect',
    grave: true,
    act: async () => {
      await send('DELETE', `/connections/${client.id}`, undefined, { stay_away: String(away.checked) })
      tell(`${visible(who)} was disconnected.`)
      after()
    }
  })
}

export function connectionsView (page: HTMLElement, signal: AbortSignal): void {
  const room = h('input', { type: 'search', autocomplete: 'off', spellcheck: 'false', maxlength: 512 })
  const subject = h('input', { type: 'search', autocomplete: 'off', spellcheck: 'false', maxlength: 512 })
  const told = h('p', { class: 'facts', role: 'status' })
  const body = h('tbody', {})
  const heads = [['who', 'Who'], ['rooms', 'Rooms'], ['address', 'Address'], ['since', 'Since'], ['state', 'State'], ['act', '']] as const
  const pager = new Pager(() => again())
  const table = h('table', { class: 'clients' }, h('caption', { class: 'unseen' }, 'Connections'),
    h('thead', {}, h('tr', {}, ...heads.map(([name, label]) => label === '' ? h('td', { class: `c-${name}` }) : h('th', { scope: 'col', class: `c-${name}` }, label)))), body)
  page.append(h('h1', {}, 'Connections'),
    h('div', { class: 'controls' }, h('label', { class: 'field' }, h('span', {}, 'In the room (its exact name)'), room), h('label', { class: 'field' }, h('span', {}, 'Of the user'), subject)),
    told, table, pager.element)

  const lines = new Lines<Client>(body, (one) => String(one.id), (client) => {
    const who = h('th', { scope: 'row', class: 'c-who' })
    const rooms = h('td', { class: 'c-rooms' })
    const since = h('td', { class: 'c-since' })
    const state = h('td', { class: 'c-state' })
    let now = client
    const button = h('button', { type: 'button', class: 'quiet', onclick: () => disconnect(now, again) }, 'Disconnect')
    let drawn = ''
    return {
      element: h('tr', {}, who, rooms, h('td', { class: 'c-address' }, client.address), since, state, h('td', { class: 'c-act' }, button)),
      update (one) {
        now = one
        const names = [...new Set(one.places.map((place) => place.subject).filter((name) => name !== null))]
        say(who, names.length > 0 ? names.map(visible).join(', ') : 'not named')
        who.classList.toggle('soft', names.length === 0)
        const key = one.places.map((place) => place.room).join('\n')
        if (key !== drawn) {
          drawn = key
          rooms.replaceChildren(...one.places.slice(0, 5).map((place) => h('a', { href: `#/rooms/${encodeURIComponent(place.room)}` }, named(place.room))),
            ...(one.places.length > 5 ? [`and ${one.places.length - 5} more`] : []))
        }
        const began = one.places.map((place) => place.since).sort()[0]
        since.replaceChildren(began === undefined ? '' : ago(began))
        const levels = [...new Set(one.places.map((place) => place.level ?? 'undecided'))].join(', ')
        say(state, [levels, one.places.some((place) => place.behind) && 'behind', one.buffered > 0 && `${bytes(one.buffered)} waiting`].filter(Boolean).join(', '))
        button.ariaLabel = `Disconnect ${names[0] ?? one.address}`
      }
    }
  })

  const again = every(4000, signal, async () => {
    try {
      const found = await get<Page<Client>>('/connections', { room: room.value, subject: subject.value, limit: EACH_PAGE, cursor: pager.cursor }, signal)
      pager.came(found.next)
      lines.draw(found.items)
      table.hidden = found.items.length === 0
      const from = pager.before * EACH_PAGE
      say(told, found.items.length === 0 ? 'Nobody is connected who fits.' : pager.only ? plural(found.items.length, 'connection') : `${from + 1} to ${from + found.items.length} shown, the oldest first`)
    } catch (error) {
      if (!left(error)) say(told, error instanceof Error ? error.message : String(error))
    }
  })
  for (const field of [room, subject]) {
    field.addEventListener('input', () => {
      pager.first()
      again()
    })
  }
}
