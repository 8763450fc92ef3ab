import { get } from './api'
import { chart } from './chart'
import { every, h, say } from './dom'
import { bytes, count, plural, seconds, span } from './format'
import { newest, taken, watch } from './samples'
import type { Server } from './types'

export function overview (page: HTMLElement, signal: AbortSignal): void {
  const state = h('p', { class: 'facts' })
  const troubles = h('div', { class: 'troubles', role: 'status' })
  const charts = [
    chart('Connections', (one) => one.connections, count, 10),
    chart('Rooms in use', (one) => one.rooms, count, 10, (one) => `and ${count(one.idle ?? 0)} kept warm`),
    chart('Edits per second', (one) => one.edits, count, 10),
    chart('Saved within (p99)', (one) => one.ack, seconds, 0.01, () => 'of the last 2 s'),
    chart('Journal lag', (one) => one.lag, count, 10, () => {
      const numbers = newest()
      return numbers === null ? '' : `edits, ${bytes(numbers.uncommitted_bytes)}`
    }),
    chart('Errors per second', (one) => one.errors, count, 1, () => {
      const numbers = newest()
      return numbers === null ? '' : `${count(numbers.errors)} in all`
    })
  ]
  page.append(h('h1', {}, 'Overview'), state, troubles, h('div', { class: 'figures' }, ...charts.map((one) => one.element)),
    h('p', { class: 'hint' }, 'Looked at every two seconds, while this page can be seen. The right end of each line is now; it reaches back five minutes at most.'))

  watch(() => {
    for (const one of charts) one.update(taken())
    const numbers = newest()
    const wrong: Node[] = []
    if (numbers === null && taken().length > 0) wrong.push(h('p', { class: 'notice' }, 'The server does not answer. It is asked again every two seconds.'))
    if (numbers?.store_up === false) wrong.push(h('p', { class: 'notice' }, 'The store takes no writes: what people type is kept in memory and tried again.'))
    if (numbers !== null && numbers.quarantined > 0) {
      wrong.push(h('p', { class: 'notice wait' }, `${plural(numbers.quarantined, 'thing is', 'things are')} set aside because the server died of it: `, h('a', { href: '#/quarantine' }, 'look at the quarantine')))
    }
    const told = wrong.map((one) => one.textContent).join()
    if (told !== troubles.dataset.told) {
      troubles.dataset.told = told
      troubles.replaceChildren(...wrong)
    }
  }, signal)

  every(10_000, signal, async () => {
    const server = await get<Server>('/server', {}, signal).catch(() => null)
    if (server !== null) say(state, `collab ${server.version}, up for ${span(server.uptime_seconds)}, process ${server.process}${server.draining ? ', sending everybody away' : ''}`)
  })
}
