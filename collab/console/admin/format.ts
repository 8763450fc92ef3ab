import { h, say } from './dom'

const whole = new Intl.NumberFormat()
const fine = new Intl.NumberFormat(undefined, { maximumSignificantDigits: 2 })
const when = new Intl.DateTimeFormat(undefined, { dateStyle: 'medium', timeStyle: 'medium' })

export const count = (value: number): string => value < 10 && !Number.isInteger(value) ? fine.format(value) : whole.format(Math.round(value))

export function plural (value: number, one: string, many = `${one}s`): string {
  return `${count(value)} ${value === 1 ? one : many}`
}

export function bytes (value: number): string {
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB']
  let unit = 0
  while (value >= 1024 && unit < units.length - 1) {
    value /= 1024
    unit += 1
  }
  return `${unit === 0 || value >= 100 ? whole.format(Math.round(value)) : value.toFixed(1)} ${units[unit]}`
}

export function seconds (value: number): string {
  if (value < 1e-3) return `${fine.format(value * 1e6)} µs`
  if (value < 1) return `${fine.format(value * 1e3)} ms`
  return `${fine.format(value)} s`
}

export function span (value: number): string {
  if (value < 60) return `${Math.max(0, Math.round(value))} s`
  if (value < 3600) return `${Math.round(value / 60)} min`
  if (value < 48 * 3600) return `${Math.round(value / 3600)} h`
  return `${Math.round(value / 86400)} days`
}

export const date = (iso: string | number): string => when.format(new Date(iso))

function past (iso: string): string {
  const seconds = (Date.now() - Date.parse(iso)) / 1000
  return seconds < 5 ? 'now' : `${span(seconds)} ago`
}

/** How long ago, with the moment itself for whoever asks. */
export const ago = (iso: string): HTMLTimeElement => h('time', { datetime: iso, title: date(iso), class: 'ago' }, past(iso))

/** How long since. */
export const lasting = (iso: string): HTMLTimeElement => h('time', { datetime: iso, title: date(iso) }, span((Date.now() - Date.parse(iso)) / 1000))

/** Let all that is shown to be so long ago be as long ago as it is now. */
export function grow (): void {
  for (const one of document.querySelectorAll<HTMLTimeElement>('time.ago')) say(one, past(one.dateTime))
}

/** A name as somebody can see it: what is invisible, or turns the writing around, is shown by its number. */
export function visible (name: string): string {
  return name.replace(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Cs}]|^\s+|\s+$/gu, (found) =>
    /\p{Zs}/u.test(found) ? found.replace(/./gsu, '␣') : [...found].map((one) => JOINERS.has(one) ? one : `\u27e8${one.codePointAt(0)!.toString(16)}\u27e9`).join(''))
}

/** Letters of some scripts, and emoji, are joined or kept apart by these. */
const JOINERS = new Set(['\u200c', '\u200d'])

/** A name from anywhere, in a direction of its own. */
export const named = (name: string): HTMLElement => h('bdi', {}, visible(name))
