/**
 * Real Hocuspocus providers, observed: `HocusSocket` is one HocuspocusProviderWebsocket of a chosen generation, `Hocus`
 * one document on it. Nothing of the provider is changed; its socket class counts, as in clients.mjs.
 */
import * as Y from 'yjs'
import WebSocket from 'ws'
import * as v2 from 'hocuspocus-2.15'
import * as v3 from 'hocuspocus-3.4'
import * as v4 from 'hocuspocus-4.8'
import { edit, now, read } from './clients.mjs'

const generations = { 2.15: v2, 3.4: v3, 4.8: v4 }

const sockets = new Map()
const documents = new Map()
let made = 0

const find = (map, name) => {
  const found = map.get(name)
  if (found === undefined) throw new Error(`no ${name}`)
  return found
}

class HocusSocket {
  constructor ({ name, url, version }) {
    this.name = name
    this.version = version
    this.opens = []
    this.closes = []
    this.inbox = [] // [seconds, hex] of each frame
    this.outbox = []
    const owner = this
    class Observed extends WebSocket {
      constructor (...args) {
        super(...args)
        this.on('open', () => owner.opens.push(now()))
        this.on('message', (data) => owner.inbox.push([now(), Buffer.from(data).toString('hex').slice(0, 200)]))
        this.on('close', (code, reason) => owner.closes.push({ t: now(), code, reason: reason.toString() }))
        this.on('error', () => {})
      }

      send (data, ...rest) {
        owner.outbox.push([now(), Buffer.from(data).toString('hex').slice(0, 200)])
        super.send(data, ...rest)
      }
    }
    this.socket = new generations[version].HocuspocusProviderWebsocket({ url, WebSocketPolyfill: Observed })
  }
}

class Hocus {
  /**
   * options: socket, document, token (a list: what its token function gives, one after the other), awareness (false: none), typed (inserted into `text` before it attaches), extra
   * (more of the provider's own options)
   */
  constructor ({ name, socket, document, token, awareness = true, typed, extra = {} }) {
    this.name = name
    this.on = find(sockets, socket)
    this.denied = []
    this.scopes = []
    this.closes = 0
    this.stateless = []
    this.unsynced = [] // every value of unsyncedChanges
    this.doc = new Y.Doc()
    if (typed !== undefined) this.doc.getText('text').insert(0, typed)
    const options = {
      websocketProvider: this.on.socket,
      name: document,
      document: this.doc,
      onAuthenticationFailed: ({ reason }) => this.denied.push(reason),
      onAuthenticated: (event) => this.scopes.push(event?.scope ?? this.provider.authorizedScope),
      onClose: () => { this.closes++ },
      onStateless: ({ payload }) => this.stateless.push(payload),
      onUnsyncedChanges: (event) => this.unsynced.push(typeof event === 'number' ? event : event.number),
      ...extra
    }
    if (token !== undefined) options.token = Array.isArray(token) ? () => token.length > 1 ? token.shift() : token[0] : token
    if (!awareness) options.awareness = null
    if (this.on.version === '2.15') options.broadcast = false // tabs of one browser; here all are in one process
    this.provider = new generations[this.on.version].HocuspocusProvider(options)
    if (this.on.version !== '2.15') this.provider.attach() // version 2 attaches by itself
  }

  state () {
    const { provider } = this
    return {
      synced: provider.synced,
      unsynced: provider.unsyncedChanges,
      saved: !provider.hasUnsyncedChanges,
      least: Math.min(0, ...this.unsynced),
      authenticated: provider.isAuthenticated,
      scope: provider.authorizedScope,
      scopes: this.scopes,
      denied: this.denied,
      closes: this.closes,
      stateless: this.stateless,
      text: this.doc.getText('text').toString(),
      clientID: this.doc.clientID,
      present: provider.awareness === null ? [] : [...provider.awareness.getStates()]
    }
  }
}

const holds = {
  synced: (one) => one.synced,
  saved: (one) => one.synced && one.saved,
  text: (one, equals) => one.text === equals,
  denied: (one, equals) => one.denied.length >= equals,
  authenticated: (one) => one.authenticated,
  closed: (one, equals) => one.closes >= equals,
  stateless: (one, equals) => one.stateless.includes(equals),
  present: (one, equals) => one.present.some(([id]) => id === equals),
  gone: (one, equals) => !one.present.some(([id]) => id === equals),
  shown: (one, equals) => one.present.some(([, state]) => JSON.stringify(state) === JSON.stringify(equals))
}

export const hocuspocus = {
  hocusSocket ({ url, version }) {
    const name = `s${++made}`
    sockets.set(name, new HocusSocket({ name, url, version }))
    return name
  },

  hocusOpen (options) {
    const name = `h${++made}`
    documents.set(name, new Hocus({ ...options, name }))
    return { name, clientID: documents.get(name).doc.clientID }
  },

  hocusEdit ({ client, edits }) {
    const one = find(documents, client)
    edit(one.doc, edits)
    return one.state()
  },

  hocusRead: ({ client, type, name }) => read(find(documents, client).doc, type, name),
  hocusState: ({ client }) => find(documents, client).state(),

  async hocusUntil ({ client, what, equals, timeout }) {
    const one = find(documents, client)
    const deadline = now() + timeout
    while (!holds[what](one.state(), equals)) {
      if (now() > deadline) return { held: false, ...one.state() }
      await new Promise((resolve) => setTimeout(resolve, 5))
    }
    return { held: true, ...one.state() }
  },

  /** A new token, shown on the open socket. */
  async hocusToken ({ client, token }) {
    const { provider, on } = find(documents, client)
    provider.configuration.token = token
    if (on.version === '2.15') {
      await provider.connect() // attaches once more: the token, and sync step 1
    } else {
      await provider.sendToken()
      provider.startSync()
    }
  },

  hocusStateless ({ client, text }) { find(documents, client).provider.sendStateless(text) },
  hocusPresence ({ client, state }) { find(documents, client).provider.awareness.setLocalState(state) },

  hocusDestroy ({ client }) {
    find(documents, client).provider.destroy()
    documents.delete(client)
  },

  /** Resolves once it is closed: `connect` before that does nothing, since the provider counts as connected. */
  async hocusDisconnect ({ socket }) {
    const { socket: one } = find(sockets, socket)
    const closed = new Promise((resolve) => one.on('disconnect', resolve))
    one.disconnect()
    await closed
  },
  async hocusConnect ({ socket }) { await find(sockets, socket).socket.connect() },

  hocusFrames ({ socket }) {
    const { opens, closes, inbox, outbox } = find(sockets, socket)
    return { opens, closes, inbox, outbox }
  },

  hocusReset () {
    for (const one of documents.values()) one.provider.destroy()
    for (const one of sockets.values()) {
      one.socket.disconnect()
      one.socket.destroy()
    }
    documents.clear()
    sockets.clear()
  }
}
