import { icon } from './icons'

const KEY = 'collab-theme' // public/assets/theme.js reads it before the first paint
const dark = matchMedia('(prefers-color-scheme: dark)')

const shown = (): 'light' | 'dark' =>
  (document.documentElement.dataset.theme as 'light' | 'dark' | undefined) ?? (dark.matches ? 'dark' : 'light')

/** A button that turns from light to dark and back. What the system says counts until it is used. */
export function themeButton (button: HTMLElement): void {
  const draw = (): void => {
    const next = shown() === 'dark' ? 'light' : 'dark'
    button.replaceChildren(icon(next === 'dark' ? 'moon' : 'sun'))
    button.title = button.ariaLabel = `Use the ${next} theme`
  }
  button.addEventListener('click', () => {
    const next = shown() === 'dark' ? 'light' : 'dark'
    document.documentElement.dataset.theme = next
    try {
      localStorage.setItem(KEY, next)
    } catch {
      // it holds for this visit
    }
    draw()
  })
  dark.addEventListener('change', draw)
  draw()
}
