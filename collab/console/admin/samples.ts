import { get, left } from './api'
import { every } from './dom'
import type { Numbers } from './types'

/** One look at the server: numbers as they are, and rates since the look before. null: not known then. */
export interface Sample {
  at: number
  connections: number | null
  rooms: number | null
  idle: number | null
  edits: number | null
  ack: number | null
  lag: number | null
  errors: number | null
}

export const EACH = 2000
const KEPT = 150

let samples: Sample[] = []
let last: Numbers | null = null
let lastAt = 0
let stop = new AbortController()
const listeners = new Set<() => void>()

/** Ask from now on, whichever view is shown, so that the charts are full when somebody looks. */
export function start (): void {
  stop = new AbortController()
  every(EACH, stop.signal, async () => {
    try {
      take(await get<Numbers>('/server/numbers', {}, stop.signal), Date.now())
    } catch (error) {
      if (left(error)) return
      take(null, Date.now())
    }
  })
}

export function forget (): void {
  stop.abort()
  samples = []
  last = null
}

export function watch (call: () => void, signal: AbortSignal): void {
  listeners.add(call)
  signal.addEventListener('abort', () => listeners.delete(call))
  call()
}

export const taken = (): readonly Sample[] => samples
export const newest = (): Numbers | null => last

const NOTHING = { connections: null, rooms: null, idle: null, edits: null, ack: null, lag: null, errors: null }

function take (now: Numbers | null, at: number): void {
  // While the page was hidden nothing was asked: a gap, not a line through it.
  if (samples.length > 0 && at - lastAt > 3 * EACH) samples.push({ at: lastAt + EACH, ...NOTHING })
  if (now === null) samples.push({ at, ...NOTHING })
  else {
    const since = last !== null && now.time > last.time && now.time - last.time < 3 * EACH / 1000 && now.edits >= last.edits ? last : null
    const rate = (value: number, before: number): number => (value - before) / (now.time - since!.time)
    samples.push({
      at,
      connections: now.connections,
      rooms: now.rooms_open,
      idle: now.rooms_idle,
      lag: now.uncommitted_updates,
      edits: since === null ? null : rate(now.edits, since.edits),
      errors: since === null ? null : rate(now.errors, since.errors),
      ack: since === null ? null : percentile(now.ack.bounds, now.ack.counts.map((value, index) => value - since.ack.counts[index]!), 0.99)
    })
  }
  last = now
  lastAt = at
  samples = samples.slice(-KEPT)
  for (const call of listeners) call()
}

/** Of a histogram: below which value the part lies; null of an empty one. Within a bound it is taken as even. */
export function percentile (bounds: number[], counts: number[], part: number): number | null {
  const total = counts.reduce((sum, value) => sum + value, 0)
  if (total <= 0) return null
  let left = part * total
  for (const [index, value] of counts.entries()) {
    if (value > 0 && left <= value) {
      const from = index === 0 ? 0 : bounds[index - 1]!
      const to = bounds[index] ?? from
      return from + (to - from) * left / value
    }
    left -= value
  }
  return bounds.at(-1)!
}
