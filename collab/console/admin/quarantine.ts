import { get, ofRoom, send } from './api'
import { ask, tell } from './dialog'
import { h } from './dom'
import { ago, named, visible } from './format'
import type { Aside } from './types'

const KINDS: Record<string, string> = {
  room: 'The room is refused',
  update: 'An update is not taken in',
  compaction: 'The room is not compacted'
}

export async function quarantineView (page: HTMLElement, signal: AbortSignal): Promise<void> {
  const list = h('ul', { class: 'aside' })
  const told = h('p', { class: 'facts', role: 'status' })
  page.append(h('h1', {}, 'Quarantine'), h('p', { class: 'hint' }, 'What was in hand when the server died, twice. It is set aside so that the server does not die of it a third time; all else is served.'), told, list)

  async function load (): Promise<void> {
    const { items } = await get<{ items: Aside[] }>('/quarantine', {}, signal)
    told.textContent = items.length === 0 ? 'Nothing is set aside.' : ''
    list.replaceChildren(...items.map((one) => h('li', { class: 'sheet' },
      h('h2', {}, h('a', { href: `#/rooms/${encodeURIComponent(one.room)}` }, named(one.room))),
      h('p', {}, `${KINDS[one.kind] ?? one.kind}: ${visible(one.why)}.`),
      h('p', { class: 'soft' }, ago(one.since), one.author === null ? '' : `, sent by ${visible(one.author)}`),
      h('button', { type: 'button', class: 'quiet edged', onclick: () => release(one) }, 'Release'))))
  }

  function release (one: Aside): void {
    ask({
      title: 'Release this room?',
      says: [
        h('span', {}, 'All that is set aside of ', named(one.room), ' is served and taken in again, within a second.'),
        'If the server dies of it again, it is started again and keeps count anew: twice, and it is back here. Back up first, and read what the log says of the deaths.'
      ],
      does: 'Release',
      grave: true,
      act: async () => {
        await send('DELETE', `${ofRoom(one.room)}/quarantine`)
        tell('Released.')
        await load()
      }
    })
  }
  await load()
}
