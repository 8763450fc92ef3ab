import { get, left, send } from './api'
import { ask, tell } from './dialog'
import { every, h, Lines, say } from './dom'
import { ago, count, named, plural, visible } from './format'
import { Pager } from './pager'
import type { Outbox, Told } from './types'

const EACH_PAGE = 50

export function webhooksView (page: HTMLElement, signal: AbortSignal): void {
  let dead = 0
  const told = h('p', { class: 'facts', role: 'status' })
  const body = h('tbody', {})
  const given = h('input', { type: 'checkbox', id: 'given-up' })
  const all = h('button', { type: 'button', class: 'quiet edged', hidden: true, onclick: () => replayAll() }, 'Try all of these again…')
  const trial = h('button', { type: 'button', class: 'quiet edged', onclick: () => void test() }, 'Send a test event')
  const pager = new Pager(() => again())
  const heads = [['event', 'Event'], ['rooms', 'Room'], ['since', 'Happened'], ['url', 'For'], ['state', 'What became of it'], ['act', '']] as const
  const table = h('table', { class: 'clients' }, h('caption', { class: 'unseen' }, 'Webhooks'),
    h('thead', {}, h('tr', {}, ...heads.map(([name, label]) => label === '' ? h('td', { class: `c-${name}` }) : h('th', { scope: 'col', class: `c-${name}` }, label)))), body)
  page.append(h('h1', {}, 'Webhooks'), h('p', { class: 'hint' }, 'Events that an application is told, in order within each room, until it takes them.'),
    h('div', { class: 'controls tight' }, h('label', { class: 'check' }, given, h('span', {}, 'Those that were given up')), h('span', { class: 'fill' }), all, trial),
    told, table, pager.element)

  const lines = new Lines<Told>(body, (one) => String(one.id), (one) => {
    const state = h('td', { class: 'c-state' })
    const retry = h('button', { type: 'button', class: 'quiet', hidden: one.dead === null, 'aria-label': `Try again: ${one.event}`, onclick: () => void replay(one) }, 'Try again')
    return {
      element: h('tr', {}, h('th', { scope: 'row', class: 'c-who' }, h('code', {}, one.event)),
        h('td', { class: 'c-rooms' }, one.room === '' ? '' : h('a', { href: `#/rooms/${encodeURIComponent(one.room)}` }, named(one.room))),
        h('td', { class: 'c-since' }, ago(one.time)), h('td', {}, one.url ?? 'a URL that is not set any more'), state, h('td', { class: 'c-act' }, retry)),
      update (now) {
        const tries = now.attempts === 0 ? 'not tried yet' : plural(now.attempts, 'attempt')
        say(state, now.error === '' ? tries : `${tries}, last: ${visible(now.error)}`)
      }
    }
  })

  const again = every(4000, signal, async () => {
    try {
      const found = await get<Outbox>('/hooks', { state: given.checked ? 'dead' : 'waiting', limit: EACH_PAGE, cursor: pager.cursor }, signal)
      pager.came(found.next)
      dead = found.dead
      lines.draw(found.items)
      table.hidden = found.items.length === 0
      all.hidden = !given.checked || dead === 0
      say(told, `${count(found.waiting)} wait, ${count(dead)} given up`)
    } catch (error) {
      if (!left(error)) say(told, error instanceof Error ? error.message : String(error))
    }
  })
  given.addEventListener('change', () => {
    pager.first()
    again()
  })

  async function replay (one: Told): Promise<void> {
    await said(async () => {
      await send('POST', '/hooks/replay', { ids: [one.id] })
      tell(`${one.event} is told again.`)
    })
  }

  async function test (): Promise<void> {
    await said(async () => {
      await send('POST', '/hooks/test')
      tell('A test event is on its way to every URL.')
    })
  }

  async function said (act: () => Promise<void>): Promise<void> {
    try {
      await act()
    } catch (error) {
      tell(error instanceof Error ? error.message : String(error))
    }
    again()
  }

  function replayAll (): void {
    ask({
      title: 'Tell all of these again?',
      says: [`${plural(dead, 'event')} that were given up wait once more, behind what waits for their rooms.`, 'A receiver may have had some of them: it knows them by their id.'],
      does: 'Try all again',
      act: async () => {
        await send('POST', '/hooks/replay', { all: true })
        tell('They wait once more.')
        again()
      }
    })
  }
}
