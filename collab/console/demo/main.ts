import type { Editor } from '@tiptap/core'
import { Doc } from 'yjs'
import { COLOURS } from '../shared/colours'
import { icon } from '../shared/icons'
import { themeButton } from '../shared/theme'
import { connect, type Connection, type Protocol } from './connection'
import { clearHistory, createEditor, renameCarets } from './editor'
import { show, standing } from './indicator'
import { drawPeople, friendly, nameOf, paint, recallUser, rememberUser } from './people'
import { createToolbar } from './toolbar'

const find = <T extends HTMLElement = HTMLElement>(id: string): T => document.getElementById(id) as T

const query = new URLSearchParams(location.search)
const room = query.get('room')?.trim() || 'demo'
const token = new URLSearchParams(location.hash.slice(1)).get('token') ?? ''
const server = location.origin.replace(/^http/, 'ws') + location.pathname.replace(/\/demo\/?$/, '')
const user = recallUser()

const doc = new Doc()
let connection: Connection
let editor: Editor

function protocolAsked (): Protocol {
  return query.get('protocol') === 'y-websocket' ? 'y-websocket' : 'hocuspocus'
}

function address (changes: Record<string, string>): string {
  const target = new URL(location.href)
  for (const [key, value] of Object.entries(changes)) target.searchParams.set(key, value)
  return target.href
}

// ---------------------------------------------------------------- the connection and its editor

function changed (): void {
  show(connection)
  const notice = find('notice')
  notice.hidden = connection.denied === null
  if (connection.denied !== null) {
    const text = `The server does not let you into this room: ${connection.denied}`
    if (notice.textContent !== text) notice.textContent = text
  }
  const editable = !connection.readOnly && connection.denied === null
  if (editor !== undefined && editor.isEditable !== editable) {
    editor.setEditable(editable, false)
    drawToolbar()
  }
}

function start (protocol: Protocol, waiting: number): void {
  connection = connect(protocol, {
    doc, server, room, token, waiting, changed, restored: () => { clearHistory(editor); drawToolbar() }
  })
  const { awareness } = connection
  const paper = find('editor')
  editor = createEditor(paper, doc, awareness, user)
  editor.on('transaction', drawToolbar)
  awareness.on('change', () => {
    drawPeople(find('people'), awareness)
    renameCarets(paper, awareness)
  })
  drawPeople(find('people'), awareness)
  window.collabDemo = { editor, connection, doc, room, standing: () => standing(connection) }
  for (const input of find('protocol').querySelectorAll('input')) input.checked = input.value === protocol
  find<HTMLAnchorElement>('beside').href = address({ room, protocol: protocol === 'hocuspocus' ? 'y-websocket' : 'hocuspocus' })
  changed()
  drawToolbar()
}

/** The same document over another provider: what was not saved is sent by the new one. */
function change (protocol: Protocol): void {
  const { waiting } = connection
  editor.destroy()
  connection.destroy()
  history.replaceState(null, '', address({ protocol }))
  start(protocol, waiting)
}

// ---------------------------------------------------------------- the page around it

const self = find<HTMLButtonElement>('self')

function drawSelf (): void {
  paint(self, user.name, user.color)
  self.title = `${user.name} (you): change name and colour`
  self.ariaLabel = self.title
}

function setUpMe (): void {
  const name = find<HTMLInputElement>('me-name')
  name.value = user.name
  for (const colour of COLOURS) {
    const swatch = document.createElement('input')
    swatch.type = 'radio'
    swatch.name = 'colour'
    swatch.value = colour
    swatch.checked = colour === user.color
    swatch.style.color = colour
    swatch.ariaLabel = `Colour ${COLOURS.indexOf(colour) + 1}`
    find('me-colours').append(swatch)
  }
  const card = find<HTMLFormElement>('me')
  card.addEventListener('input', () => {
    user.name = nameOf({ name: name.value })
    user.color = String(new FormData(card).get('colour'))
    rememberUser(user)
    editor.commands.updateUser({ ...user, id: doc.clientID })
    drawSelf()
  })
  card.addEventListener('toggle', (event) => { if ((event as ToggleEvent).newState === 'open') name.select() })
  card.addEventListener('submit', (event) => {
    event.preventDefault()
    card.hidePopover()
  })
}

function editLink (): void {
  const input = find<HTMLInputElement>('link-address')
  input.value = String(editor.getAttributes('link').href ?? '')
  find('link').showPopover()
  input.select()
}

function setUpLink (): void {
  const card = find<HTMLFormElement>('link')
  const close = (set: boolean): void => {
    const href = find<HTMLInputElement>('link-address').value.trim()
    card.hidePopover()
    const chain = editor.chain().focus().extendMarkRange('link')
    if (set && href !== '') chain.setLink({ href: /^[a-z][a-z0-9+.-]*:|^[/#]/i.test(href) ? href : `https://${href}` }).run()
    else chain.unsetLink().run()
  }
  card.addEventListener('submit', (event) => {
    event.preventDefault()
    close(true)
  })
  find('link-remove').addEventListener('click', () => close(false))
}

function setUpShare (): void {
  const share = find('share')
  share.append(icon('share'))
  share.title = 'Copy the link to this room'
  share.addEventListener('click', async () => {
    try {
      await navigator.clipboard.writeText(address({ room }))
    } catch {
      return // not allowed here: the address bar has it
    }
    share.replaceChildren(icon('done'))
    setTimeout(() => share.replaceChildren(icon('share')), 1200)
  })
}

document.title = `${room} · collab`
find('room').textContent = room
find('room').title = room
const fresh = new URL(address({ room: `${friendly().toLowerCase().replace(' ', '-')}-${Math.floor(Math.random() * 900 + 100)}` }))
find<HTMLAnchorElement>('new-room').href = fresh.href

themeButton(find('theme'))
drawSelf()
setUpMe()
setUpLink()
setUpShare()
const drawToolbar = createToolbar(find('toolbar'), () => editor, editLink)
start(protocolAsked(), 0)

find('protocol').addEventListener('change', (event) => change((event.target as HTMLInputElement).value as Protocol))
window.addEventListener('beforeunload', (event) => { if (connection.waiting > 0) event.preventDefault() })
// A page that comes back from the browser's cache has been taken leave of: it starts anew.
window.addEventListener('pageshow', (event) => { if (event.persisted) location.reload() })

declare global {
  interface Window {
    /** For tests, and for whoever is curious in the console. */
    collabDemo: { editor: Editor, connection: Connection, doc: Doc, room: string, standing: () => ReturnType<typeof standing> }
  }
}
