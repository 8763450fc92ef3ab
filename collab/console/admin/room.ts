import { askable, get, left, ofRoom, Problem } from './api'
import { Authors } from './authors'
import { compare } from './compare'
import { disconnect } from './connections'
import { draw, read, type Content } from './document'
import { every, h, Lines, say } from './dom'
import { ago, bytes, count, lasting, named, plural, visible } from './format'
import { list, makeSnapshot, past, restore } from './snapshots'
import { Timeline, type Moment } from './timeline'
import type { Client, Page, Present, RoomStats } from './types'

const REMEMBERED = 60
const SHOWN = 100

export async function roomView (page: HTMLElement, signal: AbortSignal, name: string): Promise<void> {
  page.append(h('p', { class: 'crumb' }, h('a', { href: '#/rooms' }, 'Rooms')), h('h1', {}, named(name)))
  if (!askable(name)) {
    page.append(h('p', { class: 'notice' }, 'Browsers cannot ask for a room of this name. Other programs can.'))
    return
  }
  const path = ofRoom(name)
  const authors = new Authors()
  const facts = h('p', { class: 'facts' })
  const wrong = h('p', { class: 'notice', role: 'alert', hidden: true })
  const here = people(signal)
  const paper = h('div', { class: 'paper', id: 'paper', tabindex: 0, role: 'region', 'aria-label': 'The document at this moment' })
  const timeline = new Timeline(authors, () => show())
  const beside = h('input', { type: 'checkbox', role: 'switch', id: 'beside', onchange: () => show() })
  const again = h('button', { type: 'button', class: 'quiet edged', onclick: () => ask(timeline.moment) }, 'Restore this moment…')
  const make = h('button', { type: 'button', class: 'quiet edged', onclick: () => makeSnapshot(name, refresh) }, 'Make a snapshot…')
  const snapshots = list(name, (one) => { timeline.look(one); paper.scrollIntoView({ block: 'nearest' }) }, (one) => ask({ at: `snapshot:${one.id}`, seq: one.covers, snapshot: one, now: false }), () => refresh())
  page.append(facts, wrong,
    h('div', { class: 'columns' },
      h('section', { class: 'sheet wide', 'aria-labelledby': 'document' }, h('h2', { id: 'document' }, 'Document'), timeline.element,
        h('div', { class: 'controls tight' }, h('label', { class: 'check' }, beside, h('span', {}, 'Compare with now')), h('span', { class: 'fill' }), make, again), paper),
      h('div', { class: 'side' }, here.element, snapshots.element)))

  let connected = 0
  let known = ''
  const contents = new Map<string, Content>()

  function ask (moment: Moment): void {
    restore(name, moment, moment.snapshot === null ? timeline.describe(moment) : `snapshot ${visible(moment.snapshot.label || moment.snapshot.reason)} (${timeline.describe(moment)})`, connected, refresh)
  }

  // ---------------------------------------------------------------- the document at a moment: the newest wish counts
  let wish: string | null = null
  let working = false

  function show (): void {
    const { moment } = timeline
    again.disabled = moment.now
    wish = `${beside.checked && !moment.now ? 'compare' : 'read'} ${moment.now ? `seq:${moment.seq}` : moment.at}`
    if (!working) void work()
  }

  async function work (): Promise<void> {
    working = true
    while (wish !== null && !signal.aborted) {
      const asked: string = wish
      wish = null
      const [how, at] = asked.split(' ') as [string, string]
      try {
        const made = how === 'compare' ? await compare(name, at, authors, signal) : draw(await remembered(at))
        if (wish === null) {
          paper.replaceChildren(made)
          paper.dataset.shown = asked
        }
      } catch (error) {
        if (!left(error)) paper.replaceChildren(h('p', { class: 'notice' }, error instanceof Error ? error.message : String(error)))
      }
    }
    working = false
  }

  async function remembered (at: string): Promise<Content> {
    let content = contents.get(at)
    if (content === undefined) {
      content = await read(name, at, signal)
      contents.set(at, content)
      if (contents.size > REMEMBERED) contents.delete(contents.keys().next().value!)
    }
    return content
  }

  // ---------------------------------------------------------------- what is going on
  let stale = true
  let calmUntil = 0
  const gaps = [0, 1, 30, 24 * 60, 1e6] // minutes
  const look = every(2000, signal, async () => {
    try {
      const [stats, present, clients] = await Promise.all([
        get<RoomStats>(path, {}, signal),
        get<{ total: number, items: Present[] }>(`${path}/presence`, { limit: SHOWN }, signal),
        get<Page<Client>>('/connections', { room: name, limit: SHOWN }, signal)
      ])
      connected = stats.connections
      here.draw(present, clients.items, connected)
      facts.replaceChildren(`${plural(stats.seq, 'edit')}, ${bytes(stats.bytes)}, changed `, ago(stats.changed), stats.live === null ? ', not in memory' : `, ${plural(stats.live.writers, 'writer')}${stats.live.uncommitted > 0 ? `, ${count(stats.live.uncommitted)} not saved yet` : ''}`)
      const news = `${stats.seq}`
      if (stale || (news !== known && performance.now() >= calmUntil)) {
        stale = false
        known = news
        const began = performance.now()
        const [sessions, kept] = await past(name, gaps, signal)
        calmUntil = performance.now() + 10 * (performance.now() - began) // a long history costs the server the more
        const before = timeline.moment.at
        timeline.set(sessions, kept, stats.seq)
        snapshots.draw(kept)
        // A moment that has passed stays as it was; the present, and what is compared with it, does not.
        if (timeline.moment.now || before !== timeline.moment.at || beside.checked || paper.dataset.shown === undefined) show()
      }
      wrong.hidden = true
    } catch (error) {
      if (left(error)) return
      say(wrong, error instanceof Problem && error.status === 404 ? 'This room holds nothing, or was deleted.' : error instanceof Error ? error.message : String(error))
      wrong.hidden = false
    }
  })

  function refresh (): void {
    stale = true
    look()
  }
}

/** Others may say anything of themselves. */
function nameOf (one: Present): string {
  const name = one.state?.user?.name
  return typeof name === 'string' && name.trim() !== '' ? visible(name.trim().slice(0, 60)) : 'Somebody'
}

interface People { element: HTMLElement, draw: (present: { total: number, items: Present[] }, clients: Client[], connected: number) => void }

/** Who is here: the names that editors show, and the connections they come by. */
function people (signal: AbortSignal): People {
  const names = h('ul', { class: 'names' })
  const told = h('p', { class: 'soft' })
  const body = h('ul', { class: 'clients-here' })
  const shown = new Lines<Present>(names, (one) => String(one.client), () => {
    const element = h('li', { class: 'person' })
    return {
      element,
      update (one) {
        const color = one.state?.user?.color
        say(element, nameOf(one))
        if (typeof color === 'string' && /^#[0-9a-f]{6}$/i.test(color)) element.style.setProperty('--who', color)
      }
    }
  })
  const lines = new Lines<Client>(body, (one) => String(one.id), (first) => {
    let now = first
    const who = h('span', { class: 'who' })
    const about = h('span', { class: 'soft' })
    const button = h('button', { type: 'button', class: 'quiet edged', onclick: () => { if (!signal.aborted) disconnect(now, () => {}) } }, 'Disconnect…')
    return {
      element: h('li', {}, h('div', { class: 'what' }, who, about), button),
      update (one) {
        now = one
        const place = one.places[0]
        const name = one.places.find((one) => one.subject !== null)?.subject
        say(who, name === undefined || name === null ? 'not named' : visible(name))
        about.replaceChildren(`${one.address}, may ${place?.level ?? 'nothing yet'}`, ...(place === undefined ? [] : [', here for ', lasting(place.since)]))
        button.ariaLabel = `Disconnect ${name ?? one.address}`
      }
    }
  })
  return {
    element: h('section', { class: 'sheet' }, h('h2', {}, 'Here now'), told, names, body),
    draw (present, clients, connected) {
      say(told, connected === 0 ? 'Nobody.' : connected > clients.length ? `${plural(connected, 'connection')}, the first ${clients.length} of them:` : plural(connected, 'connection'))
      names.hidden = present.items.length === 0
      shown.draw(present.items.sort((one, other) => nameOf(one).localeCompare(nameOf(other))))
      lines.draw(clients)
    }
  }
}
