import { h } from './dom'

interface Asked {
  title: string
  /** What will happen, a sentence each. */
  says: (string | Node)[]
  /** What the button that does it says. */
  does: string
  grave?: boolean
  fields?: HTMLElement[]
  act: () => Promise<void>
}

/** Ask before something is done. It closes when that is done, and says what went wrong when it is not. */
export function ask (asked: Asked): void {
  const wrong = h('p', { class: 'notice', role: 'alert', hidden: true })
  const yes = h('button', { class: asked.grave === true ? 'solid grave' : 'solid', type: 'submit' }, asked.does)
  const no = h('button', { class: 'quiet', type: 'button', onclick: () => dialog.close() }, 'Cancel')
  const form = h('form', {
    onsubmit: async (event: Event) => {
      event.preventDefault()
      yes.disabled = true
      wrong.hidden = true
      try {
        await asked.act()
        dialog.close()
      } catch (error) {
        wrong.textContent = error instanceof Error ? error.message : String(error)
        wrong.hidden = false
        yes.disabled = false
      }
    }
  }, h('h2', { id: 'asked' }, asked.title), ...asked.says.map((one) => h('p', {}, one)), ...(asked.fields ?? []), wrong, h('div', { class: 'row end' }, no, yes))
  const dialog = h('dialog', { class: 'ask', 'aria-labelledby': 'asked', onclose: () => dialog.remove() }, form)
  document.body.append(dialog)
  dialog.showModal()
  if (asked.fields === undefined) yes.focus()
}

/** Tell what was done, with a way back if there is one. It stays until it is closed, or another one comes. */
export function tell (text: string, back?: { does: string, act: () => void }): void {
  const place = document.getElementById('told')!
  const close = (): void => place.replaceChildren()
  place.replaceChildren(h('div', { class: 'told' },
    h('span', {}, text),
    back !== undefined && h('button', { class: 'solid', type: 'button', onclick: () => { close(); back.act() } }, back.does),
    h('button', { class: 'quiet', type: 'button', onclick: close }, 'Close')))
}
