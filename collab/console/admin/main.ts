import { themeButton } from '../shared/theme'
import { get, left, onRefused, Problem, signInWith } from './api'
import { auditView } from './audit'
import { connectionsView } from './connections'
import { every, h } from './dom'
import { grow } from './format'
import { overview } from './overview'
import { quarantineView } from './quarantine'
import { roomView } from './room'
import { roomsView } from './rooms'
import { forget, start } from './samples'
import { settingsView } from './settings'
import type { Server } from './types'
import { webhooksView } from './webhooks'

/** Draws into the page until the signal says that another view comes. */
export type View = (page: HTMLElement, signal: AbortSignal, rest: string) => void | Promise<void>

const VIEWS: [path: string, title: string, view: View][] = [
  ['', 'Overview', overview],
  ['rooms', 'Rooms', roomsView],
  ['connections', 'Connections', connectionsView],
  ['audit', 'Audit log', auditView],
  ['webhooks', 'Webhooks', webhooksView],
  ['quarantine', 'Quarantine', quarantineView],
  ['settings', 'Settings', settingsView]
]

const find = <T extends HTMLElement = HTMLElement>(id: string): T => document.getElementById(id) as T

let leave = new AbortController()
let signedIn = false

function route (): void {
  leave.abort()
  if (!signedIn) return
  leave = new AbortController()
  const [path = '', ...rest] = location.hash.replace(/^#\/?/, '').split('/')
  const found = VIEWS.find(([name]) => name === path) ?? VIEWS[0]!
  let [, title, view] = found
  let asked = rest.join('/')
  if (path === 'rooms' && asked !== '') {
    view = roomView
    try {
      asked = decodeURIComponent(asked)
    } catch {
      // as it stands there
    }
    title = asked
  }
  for (const link of find('nav').querySelectorAll('a')) link.ariaCurrent = link.dataset.path === found[0] ? 'page' : null
  document.title = `${title} · collab console`
  const page = h('div', { class: 'page' })
  find('view').replaceChildren(page)
  scrollTo(0, 0)
  Promise.resolve(view(page, leave.signal, asked)).catch((error: unknown) => {
    if (!left(error)) page.append(h('p', { class: 'notice', role: 'alert' }, error instanceof Error ? error.message : String(error)))
  })
  // Who reads with the ears is told where they are.
  const heading = page.querySelector('h1')
  if (moved && heading !== null) {
    heading.tabIndex = -1
    heading.focus({ preventScroll: true })
  }
  moved = true
}
let moved = false

async function signIn (): Promise<void> {
  const field = find<HTMLInputElement>('token')
  const refusal = find('refused')
  refusal.hidden = true
  signInWith(field.value.trim())
  try {
    await get<Server>('/server')
  } catch (error) {
    signInWith('')
    refusal.textContent = error instanceof Problem
      ? (error.status === 401 ? 'The server does not know this token.' : error.message)
      : 'The server does not answer.'
    refusal.hidden = false
    field.select()
    return
  }
  field.value = ''
  show(true)
  start()
  route()
}

function show (inside: boolean): void {
  signedIn = inside
  find('sign-in').hidden = inside
  for (const id of ['view', 'nav', 'sign-out']) find(id).hidden = !inside
}

function signOut (reason = ''): void {
  leave.abort()
  signInWith('')
  forget()
  find('view').replaceChildren()
  show(false)
  moved = false
  document.title = 'collab console'
  for (const dialog of document.querySelectorAll('dialog')) dialog.close()
  find('told').replaceChildren()
  find('refused').textContent = reason
  find('refused').hidden = reason === ''
  find('token').focus()
}

themeButton(find('theme'))
for (const [path, title] of VIEWS) find('nav').append(h('a', { href: `#/${path}`, 'data-path': path }, title))
find('sign-in').addEventListener('submit', (event) => {
  event.preventDefault()
  void signIn()
})
find('sign-out').addEventListener('click', () => signOut())
find('skip').addEventListener('click', (event) => {
  event.preventDefault()
  find('main').focus()
})
onRefused((reason) => { if (signedIn) signOut(`The server does not take this token any more: ${reason}`) })
window.addEventListener('hashchange', route)
// A page that comes back from the browser's cache would still have the token.
window.addEventListener('pageshow', (event) => { if (event.persisted) location.reload() })
find('token').focus()
every(10_000, new AbortController().signal, async () => grow())
