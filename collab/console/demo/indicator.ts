import type { Connection } from './connection'

export type Kind = 'saved' | 'saving' | 'offline' | 'denied' | 'refused' | 'read-only'

/** What may truthfully be said about what was typed in this window: its kind, a few words, and a sentence. */
export function standing (connection: Connection): { kind: Kind, text: string, detail: string } {
  const { waiting } = connection
  const changes = waiting === 1 ? '1 change waits here' : `${waiting} changes wait here`
  if (connection.denied !== null) {
    return {
      kind: 'denied',
      text: `No access: ${connection.denied}`,
      detail: waiting === 0 ? 'The server does not let this window in.' : `The server does not let this window in; ${changes}.`
    }
  }
  if (!connection.connected) {
    return waiting === 0
      ? { kind: 'offline', text: 'Offline', detail: 'There is no connection; it is tried again and again. You can go on typing.' }
      : { kind: 'offline', text: `Offline – ${changes}`, detail: 'They are kept in this window and sent when the connection is back.' }
  }
  if (connection.refused && waiting > 0) {
    return { kind: 'refused', text: 'Not saved', detail: `The server turned a change down; ${changes}.` }
  }
  if (connection.readOnly) return { kind: 'read-only', text: 'Read only', detail: 'You may read here, not write.' }
  if (connection.confirmed && waiting === 0) {
    return { kind: 'saved', text: 'Saved', detail: 'All that you typed is on the disk of the server.' }
  }
  return waiting === 0
    ? { kind: 'saving', text: 'Connecting…', detail: 'The server is asked for what is new.' }
    : { kind: 'saving', text: 'Saving…', detail: `On the way to the disk of the server: ${changes}.` }
}

const indicator = document.getElementById('indicator')!
const words = document.getElementById('indicator-text')!
const announcer = document.getElementById('announcer')!
let announced: Kind = 'saved'
let soon = 0

/** Show it at once; say it aloud only when it has lasted, and only what is out of the ordinary or ends that. */
export function show (connection: Connection): void {
  const { kind, text, detail } = standing(connection)
  if (words.textContent !== text) words.textContent = text
  indicator.dataset.kind = kind
  indicator.title = detail
  clearTimeout(soon)
  if (kind !== announced && kind !== 'saving') {
    soon = window.setTimeout(() => {
      announced = kind
      announcer.textContent = text
    }, 1500)
  }
}
