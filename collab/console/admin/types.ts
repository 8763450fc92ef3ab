/** What the admin API answers (docs/reference/api.md), as far as it is used here. */
export interface Page<T> { items: T[], next: string | null }

export interface Numbers {
  time: number
  connections: number
  rooms_open: number
  rooms_idle: number
  uncommitted_updates: number
  uncommitted_bytes: number
  edits: number
  errors: number
  refused: number
  quarantined: number
  store_up: boolean
  ack: { bounds: number[], counts: number[] }
}

export interface Room { name: string, seq: number, bytes: number, changed: string, connections: number }
export interface RoomStats extends Room { live: { bytes: number, writers: number, present: number, uncommitted: number, held_updates: number } | null }
export interface Place { room: string, subject: string | null, level: string | null, behind: boolean, since: string }
export interface Client { id: number, address: string, origin: string | null, transport: string, buffered: number, silent_seconds: number, places: Place[] }
export interface Present { client: number, state: { user?: { name?: unknown, color?: unknown } } | null }
export interface Told { id: number, event: string, room: string, url: string | null, time: string, attempts: number, dead: string | null, error: string }
export interface Outbox extends Page<Told> { waiting: number, dead: number }
export interface Snapshot { id: number, covers: number, time: string, label: string, note: string, author: string | null, reason: string, pinned: boolean, size: number }
export interface Edits { author: string | null, begin: string, end: string, first: number, last: number, edits: number }
export interface Done { room: string, bytes: number, before: Snapshot | null, seq: number | null }
export interface Run { root: string, kind: string, shown: string, at: number, author: string | null }
export interface Gone extends Run { deleted_by: string | null, deleted: string | null }
export interface Writers { runs: Run[], deleted: Gone[] }
export type Step = { keep: number } | { delete: string } | { insert: string }
export interface Difference { text: Record<string, Step[]>, nodes: Record<string, unknown> }
export interface Record_ { id: number, time: string, who: string, what: string, room: string | null, address: string, details: Record<string, unknown> }
export interface Aside { room: string, kind: string, why: string, since: string, author: string | null }
export interface Setting { name: string, value: string, source: string, description: string }
export interface Server { version: string, uptime_seconds: number, draining: boolean, log_level: string, process: number }
export interface Node_ { type: string, text?: string, attrs?: Record<string, unknown>, marks?: { type: string, attrs?: Record<string, unknown> }[], content?: Node_[] }
