import type { Authors } from './authors'
import { h, s, say, tint } from './dom'
import { count, date } from './format'
import type { Edits, Snapshot } from './types'

/** A moment of a room: after an edit, or what a snapshot holds from before the edits that are kept. */
export interface Moment { at: string, seq: number, snapshot: Snapshot | null, now: boolean }

const WIDTH = 1000

/** All moments of a room on one line, edit by edit: dragged, or moved with the arrow keys. */
export class Timeline {
  readonly element: HTMLElement
  private readonly range: HTMLInputElement
  private readonly track: SVGElement
  private readonly label: HTMLElement
  private readonly earlier: HTMLButtonElement
  private readonly later: HTMLButtonElement
  private readonly toNow: HTMLButtonElement
  private sessions: Edits[] = []
  private snapshots: Snapshot[] = []
  /** Snapshots from before the first edit that is kept, oldest first: each is a stop by itself. */
  private older: Snapshot[] = []
  private first = 1
  private last = 0
  private drawn = ''

  constructor (private readonly authors: Authors, private readonly moved: (moment: Moment) => void) {
    this.range = h('input', { type: 'range', min: 0, max: 0, value: 0, step: 1, 'aria-label': 'Moment', oninput: () => this.changed() })
    this.track = s('svg', { class: 'track', viewBox: `0 0 ${WIDTH} 24`, preserveAspectRatio: 'none', 'aria-hidden': 'true' })
    this.label = h('p', { class: 'moment' })
    this.earlier = h('button', { type: 'button', class: 'quiet edged', 'aria-label': 'One edit earlier', onclick: () => this.step(-1) }, '‹')
    this.later = h('button', { type: 'button', class: 'quiet edged', 'aria-label': 'One edit later', onclick: () => this.step(1) }, '›')
    this.toNow = h('button', { type: 'button', class: 'quiet edged', onclick: () => this.go(this.stops - 1) }, 'Now')
    this.element = h('div', { class: 'timeline' }, this.label,
      h('div', { class: 'line' }, this.earlier, h('div', { class: 'range' }, this.track, this.range), this.later, this.toNow))
  }

  private get stops (): number { return this.older.length + Math.max(1, this.last - this.first + 1) }

  private get index (): number { return Number(this.range.value) }

  get moment (): Moment {
    const now = this.index >= this.stops - 1
    if (this.index < this.older.length) {
      const snapshot = this.older[this.index]!
      return { at: `snapshot:${snapshot.id}`, seq: snapshot.covers, snapshot, now: false }
    }
    const seq = Math.min(this.last, this.first + this.index - this.older.length)
    return { at: now ? 'now' : `seq:${seq}`, seq, snapshot: this.snapshots.find((one) => one.covers === seq) ?? null, now }
  }

  /** What is known by now. Whoever stands at the end stays there; all others stay at their moment. */
  set (sessions: Edits[], snapshots: Snapshot[], seq: number): void {
    const { now, at, seq: stood, snapshot } = this.moment
    const begun = this.last > 0
    this.sessions = sessions
    this.snapshots = snapshots
    this.first = sessions[0]?.first ?? seq
    this.last = seq
    this.older = snapshots.filter((one) => one.covers < this.first).reverse()
    for (const one of sessions) this.authors.meet(one.author)
    this.range.max = String(this.stops - 1)
    if (!begun || now) this.range.value = this.range.max
    else this.range.value = String(at.startsWith('snapshot') ? this.placeOf(snapshot!) : this.older.length + stood - this.first)
    this.draw()
    this.say()
  }

  /** Go to what a snapshot holds. */
  look (snapshot: Snapshot): void { this.go(this.placeOf(snapshot)) }

  private placeOf (snapshot: Snapshot): number {
    const index = this.older.findIndex((one) => one.id === snapshot.id)
    return index >= 0 ? index : this.older.length + snapshot.covers - this.first
  }

  private step (by: number): void { this.go(this.index + by) }

  private go (index: number): void {
    this.range.value = String(index)
    this.changed()
  }

  private changed (): void {
    this.say()
    this.moved(this.moment)
  }

  private sessionOf (seq: number): Edits | undefined {
    const inside = this.sessions.filter((one) => one.first <= seq && seq <= one.last)
    return inside.sort((one, other) => (one.last - one.first) - (other.last - other.first))[0]
  }

  /** About when an edit was made: within a session it is taken as even. */
  private timeOf (seq: number): string | null {
    const session = this.sessionOf(seq)
    if (session === undefined) return null
    const [begin, end] = [Date.parse(session.begin), Date.parse(session.end)]
    const part = session.last === session.first ? 0 : (seq - session.first) / (session.last - session.first)
    return date(begin + (end - begin) * part)
  }

  describe (moment: Moment): string {
    const { seq, snapshot } = moment
    if (seq < this.first && snapshot !== null) return `snapshot of ${date(snapshot.time)}`
    const time = this.timeOf(seq)
    return `edit ${count(seq)} of ${count(this.last)}${time === null ? '' : `, ${time}`}`
  }

  private say (): void {
    const { moment } = this
    const who = this.sessionOf(moment.seq)
    const text = `${moment.now ? 'Now: ' : ''}${this.describe(moment)}`
    const snapshot = moment.snapshot === null ? '' : `snapshot ${moment.snapshot.label || moment.snapshot.reason}`
    this.range.setAttribute('aria-valuetext', [text, who?.author ?? '', snapshot].filter((one) => one !== '').join(', '))
    this.label.replaceChildren(h('span', {}, text), who === undefined ? '' : this.authors.badge(who.author), snapshot === '' ? '' : h('span', { class: 'tag' }, snapshot))
    this.earlier.disabled = this.index === 0
    this.later.disabled = this.toNow.disabled = moment.now
    say(this.toNow, 'Now')
  }

  private draw (): void {
    const key = JSON.stringify([this.sessions, this.snapshots, this.last])
    if (key === this.drawn) return
    this.drawn = key
    const wide = WIDTH / Math.max(1, this.stops - 1)
    const x = (index: number): number => index * wide
    const bars = joined(this.sessions).map((one) => {
      const from = Math.max(0, x(this.older.length + one.first - this.first) - wide)
      const to = x(this.older.length + one.last - this.first)
      return tint(s('rect', { x: from.toFixed(1), y: 10, width: Math.max(1.5, to - from).toFixed(1), height: 8, class: one.author === null ? 'stretch unknown' : 'stretch' }), this.authors.colour(one.author))
    })
    const flags = this.snapshots.map((one) => s('rect', { class: 'flag', x: (x(this.placeOf(one)) - 1.5).toFixed(1), y: 2, width: 3, height: 20 }))
    this.track.replaceChildren(...bars, ...flags)
  }
}

/** Neighbours of one author as one bar. */
function joined (sessions: Edits[]): Edits[] {
  const found: Edits[] = []
  for (const one of sessions) {
    const last = found.at(-1)
    if (last !== undefined && last.author === one.author && one.first <= last.last + 1) last.last = Math.max(last.last, one.last)
    else found.push({ ...one })
  }
  return found
}
