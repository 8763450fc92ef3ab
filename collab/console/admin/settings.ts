import { get } from './api'
import { h } from './dom'
import type { Setting } from './types'

export async function settingsView (page: HTMLElement, signal: AbortSignal): Promise<void> {
  const field = h('input', { type: 'search', autocomplete: 'off', spellcheck: 'false' })
  const own = h('input', { type: 'checkbox' })
  const body = h('tbody', {})
  const told = h('p', { class: 'facts', role: 'status' })
  page.append(h('h1', {}, 'Settings'), h('p', { class: 'hint' }, 'As they are in effect, with secrets masked. They are changed by environment variables, and a restart.'),
    h('div', { class: 'controls' }, h('label', { class: 'field' }, h('span', {}, 'Search'), field), h('label', { class: 'check' }, own, h('span', {}, 'Only what was set'))),
    told,
    h('table', { class: 'settings' }, h('caption', { class: 'unseen' }, 'Settings'),
      h('thead', {}, h('tr', {}, ...['Setting', 'Value', 'Set by'].map((label) => h('th', { scope: 'col' }, label)))), body))
  const all = await get<Setting[]>('/server/settings', {}, signal)
  const rows = all.map((one) => ({
    one,
    text: `${one.name} ${one.value} ${one.source} ${one.description}`.toLowerCase(),
    element: h('tr', {},
      h('th', { scope: 'row' }, h('code', {}, one.name), h('p', { class: 'soft' }, one.description)),
      h('td', { class: 'c-value' }, h('code', {}, one.value)),
      h('td', { class: one.source === 'default' ? 'soft' : '' }, one.source))
  }))
  body.append(...rows.map((row) => row.element))
  const draw = (): void => {
    const words = field.value.toLowerCase()
    let shown = 0
    for (const { one, text, element } of rows) {
      element.hidden = !text.includes(words) || (own.checked && one.source === 'default')
      if (!element.hidden) shown += 1
    }
    told.textContent = `${shown} of ${all.length} settings`
  }
  field.addEventListener('input', draw)
  own.addEventListener('change', draw)
  draw()
}
