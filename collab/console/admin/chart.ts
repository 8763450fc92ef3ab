import { h, s, say } from './dom'
import { EACH, type Sample } from './samples'

const WIDTH = 240
const HEIGHT = 44
/** So many samples fill the width, until there are more. */
const LEAST = 30

/** A number with the line it has drawn; `update` draws it anew. Nothing moves but the line. */
export interface Chart { element: HTMLElement, update: (samples: readonly Sample[]) => void }

/**
 * @param label What it is.
 * @param of The number in a sample.
 * @param shown How it is written.
 * @param note More, beside the number.
 * @param floor The least top of the scale, so that small changes look small.
 */
export function chart (label: string, of: (sample: Sample) => number | null, shown: (value: number) => string, floor: number, note?: (sample: Sample) => string): Chart {
  const value = h('strong', {})
  const beside = h('span', { class: 'beside' })
  const top = h('span', { class: 'top' })
  const area = s('path', { class: 'area' })
  const line = s('path', { class: 'line' })
  const svg = s('svg', { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: 'none', role: 'img' }, area, line)
  const element = h('section', { class: 'figure', 'aria-label': label },
    h('h2', {}, label), h('p', { class: 'value' }, value, beside), h('div', { class: 'plot' }, svg, top))

  return {
    element,
    update (samples) {
      const newest = samples.at(-1)
      const now = newest === undefined ? null : of(newest)
      say(value, now === null ? '–' : shown(now))
      say(beside, now === null || note === undefined ? '' : note(newest!))
      const known = samples.map(of).filter((one) => one !== null)
      const highest = Math.max(floor, ...known)
      const span = Math.max(LEAST, samples.length) - 1
      const x = (index: number): number => WIDTH - (samples.length - 1 - index) * WIDTH / span
      const y = (one: number): number => HEIGHT - 2 - one / highest * (HEIGHT - 6)
      let path = ''
      let under = ''
      let from: number | null = null
      for (const [index, sample] of samples.entries()) {
        const one = of(sample)
        const ends = one === null || index === samples.length - 1
        if (one !== null) {
          path += from === null ? `M${x(index).toFixed(1)} ${y(one).toFixed(1)}h.01` : `L${x(index).toFixed(1)} ${y(one).toFixed(1)}`
          under += from === null ? `M${x(index).toFixed(1)} ${HEIGHT}L${x(index).toFixed(1)} ${y(one).toFixed(1)}` : `L${x(index).toFixed(1)} ${y(one).toFixed(1)}`
          from ??= index
        }
        if (ends && from !== null) {
          under += `L${x(one === null ? index - 1 : index).toFixed(1)} ${HEIGHT}Z`
          from = null
        }
      }
      line.setAttribute('d', path)
      area.setAttribute('d', under)
      say(top, known.length > 0 ? shown(highest) : '')
      svg.setAttribute('aria-label', known.length === 0
        ? `${label}: nothing yet`
        : `${label}, the last ${Math.max(1, Math.round(samples.length * EACH / 60_000))} min: between ${shown(Math.min(...known))} and ${shown(Math.max(...known))}`)
    }
  }
}
