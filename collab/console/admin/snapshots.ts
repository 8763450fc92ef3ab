import { get, ofRoom, once, send } from './api'
import { ask, tell } from './dialog'
import { h, Lines, say } from './dom'
import { ago, bytes, count, date, plural, visible } from './format'
import type { Moment } from './timeline'
import type { Done, Edits, Page, RoomStats, Snapshot } from './types'

/** Ask for a name, and make a snapshot of what stands there. */
export function makeSnapshot (room: string, after: () => void): void {
  const label = h('input', { maxlength: 200, autocomplete: 'off' })
  const pinned = h('input', { type: 'checkbox', checked: true })
  ask({
    title: 'Make a snapshot?',
    says: ['What stands in the room now is kept as a whole. Nothing changes for those who type. You can delete it again.'],
    fields: [h('label', { class: 'field' }, h('span', {}, 'Label'), label),
      h('label', { class: 'check' }, pinned, h('span', {}, 'Keep it until somebody deletes it'))],
    does: 'Make it',
    act: async () => {
      const made = (await send<Snapshot>('POST', `${ofRoom(room)}/snapshots`, { label: label.value, pinned: pinned.checked }))!
      after()
      tell(`A snapshot was made${made.label === '' ? '' : `: ${visible(made.label)}`}.`, {
        does: 'Undo (delete it)',
        act: () => void tried(async () => {
          await send('DELETE', `${ofRoom(room)}/snapshots/${made.id}`)
          after()
          tell('The snapshot is deleted.')
        })
      })
    }
  })
}

/** Say what a restore does, do it, and offer the way back. */
export function restore (room: string, moment: Moment, described: string, here: number, after: () => void): void {
  const key = once()
  ask({
    title: 'Restore this moment?',
    says: [
      `The document becomes what it was at ${described}. What was written since is taken out, what was deleted since comes back${here === 0 ? '.' : `, before the eyes of the ${plural(here, 'editor')} connected; they keep typing.`}`,
      'A snapshot of what stands there now is made first. You can undo this afterwards.'
    ],
    does: 'Restore',
    act: async () => {
      const to = moment.snapshot !== null ? { snapshot: moment.snapshot.id } : { seq: moment.seq }
      done(room, await back(room, to, key), `${visible(room)} is restored: ${described}.`, 'Undo the restore', after)
    }
  })
}

async function back (room: string, to: object, key: string): Promise<Done> {
  return (await send<Done>('POST', `${ofRoom(room)}/restore`, { to }, {}, key))!
}

function done (room: string, made: Done, text: string, does: string, after: () => void): void {
  after()
  if (made.bytes === 0 || made.seq === null) {
    tell('Nothing had to change: the document is what it was then.')
    return
  }
  tell(text, { does, act: () => void tried(() => undo(room, made.seq!, after)) })
}

/** Back to what stood there before an edit; asks first, if somebody has typed since. */
async function undo (room: string, seq: number, after: () => void): Promise<void> {
  const key = once()
  const act = async (): Promise<void> => done(room, await back(room, { seq: seq - 1 }, key), `Undone: ${visible(room)} is what it was before.`, 'Undo that, too', after)
  const now = await get<RoomStats>(ofRoom(room))
  const since = now.seq - seq
  if (since <= 0) {
    await act()
    return
  }
  ask({
    title: 'Undo the restore?',
    says: [
      `The document becomes what it was just before. ${plural(since, 'edit was', 'edits were')} made since, and ${since === 1 ? 'goes' : 'go'}, too.`,
      'A snapshot of what stands there now is made first, and you can undo this as well.'
    ],
    does: 'Undo',
    act
  })
}

async function tried (act: () => Promise<void>): Promise<void> {
  try {
    await act()
  } catch (error) {
    tell(error instanceof Error ? error.message : String(error))
  }
}

export interface List { element: HTMLElement, draw: (snapshots: Snapshot[]) => void }

/** The snapshots of a room, and what may be done with each. */
export function list (room: string, look: (snapshot: Snapshot) => void, again: (snapshot: Snapshot) => void, after: () => void): List {
  const body = h('ul', { class: 'snapshots' })
  const none = h('p', { class: 'soft' }, 'None yet. The server makes some by itself while people work, and before each restore.')
  const lines = new Lines<Snapshot>(body, (one) => String(one.id), (first) => {
    let now = first
    const name = h('strong', {})
    const about = h('span', { class: 'soft' })
    const pinned = h('span', { class: 'tag' }, 'kept')
    const pin = h('button', { type: 'button', class: 'quiet edged', onclick: () => void tried(async () => { await send('PATCH', `${ofRoom(room)}/snapshots/${now.id}`, { pinned: !now.pinned }); after() }) })
    const buttons = h('div', { class: 'row' },
      h('button', { type: 'button', class: 'quiet edged', onclick: () => look(now) }, 'Look'),
      h('button', { type: 'button', class: 'quiet edged', onclick: () => again(now) }, 'Restore…'), pin,
      h('button', { type: 'button', class: 'quiet edged', onclick: () => remove(room, now, after) }, 'Delete…'))
    return {
      element: h('li', {}, h('div', { class: 'what' }, name, pinned, about), buttons),
      update (one) {
        now = one
        const title = one.label === '' ? `${one.reason[0]!.toUpperCase()}${one.reason.slice(1)}` : visible(one.label)
        say(name, title)
        about.replaceChildren(ago(one.time), `, after edit ${count(one.covers)}, ${bytes(one.size)}${one.author === null ? '' : `, by ${visible(one.author)}`}`)
        pinned.hidden = !one.pinned
        say(pin, one.pinned ? 'Let go' : 'Keep')
        pin.title = one.pinned ? 'It may be thinned out with the others when it is old' : 'It stays until somebody deletes it'
        for (const button of buttons.querySelectorAll('button')) button.ariaLabel = `${button.textContent}: ${title}, ${date(one.time)}`
      }
    }
  })
  return {
    element: h('section', { class: 'sheet' }, h('h2', {}, 'Snapshots'), none, body),
    draw (snapshots) {
      lines.draw(snapshots)
      none.hidden = snapshots.length > 0
    }
  }
}

function remove (room: string, snapshot: Snapshot, after: () => void): void {
  ask({
    title: 'Delete this snapshot?',
    says: [`What it holds (${date(snapshot.time)}, ${bytes(snapshot.size)}) is gone for good: this cannot be undone. The room itself stays as it is.`],
    does: 'Delete for good',
    grave: true,
    act: async () => {
      await send('DELETE', `${ofRoom(room)}/snapshots/${snapshot.id}`)
      after()
      tell('The snapshot is deleted.')
    }
  })
}

/** The newest snapshots, and edits in groups so fine that they fit on one page. `gaps`: what to try; the rest stays. */
export async function past (room: string, gaps: number[], signal: AbortSignal): Promise<[Edits[], Snapshot[]]> {
  const path = ofRoom(room)
  const [snapshots, first] = await Promise.all([
    get<Page<Snapshot>>(`${path}/snapshots`, { limit: 200 }, signal),
    get<Page<Edits>>(`${path}/activity`, { gap: gaps[0], limit: 1000 }, signal)
  ])
  let sessions = first
  while (sessions.next !== null && gaps.length > 1) {
    gaps.shift()
    sessions = await get<Page<Edits>>(`${path}/activity`, { gap: gaps[0], limit: 1000 }, signal)
  }
  return [sessions.items, snapshots.items]
}
