/**
 * Real y-websocket providers, observed.
 *
 * `Client` is one Y.Doc with one provider of a chosen y-websocket generation. Nothing of the provider is changed: it is
 * given a WebSocket class (the `WebSocketPolyfill` option that Node users need anyway) which counts what passes.
 */
import * as Y from 'yjs'
import { Awareness } from 'y-protocols/awareness'
import * as decoding from 'lib0/decoding'
import WebSocket from 'ws'
import { WebsocketProvider as Provider21 } from 'y-websocket-2.1'
import { WebsocketProvider as Provider30 } from 'y-websocket-3.0'
import { WebsocketProvider as Provider31 } from 'y-websocket-3.1'

export const providers = { '2.1': Provider21, '3.0': Provider30, '3.1': Provider31 }

process.setMaxListeners(0) // each provider listens for 'exit'
globalThis.WebSocket ??= WebSocket // a provider's resync timer asks the global one for OPEN; Node has it from 22 on

/** Seconds on the system's monotonic clock: the same one as Python's time.monotonic() on Linux. */
export const now = () => Number(process.hrtime.bigint()) / 1e9

// ---------------------------------------------------------------------------------------------- JavaScript errors

/** The client whose frame is being handled right now: what is thrown or logged meanwhile is its doing. */
let handling = null

/** Everything that went wrong in JavaScript: console.error, uncaught exceptions and rejections. */
export const jsErrors = []

/** console.warn, which y-websocket uses for "Permission denied". */
export const jsWarnings = []

const describe = (parts) =>
  parts.map((p) => (p instanceof Error ? p.stack : typeof p === 'string' ? p : JSON.stringify(p))).join(' ')

const record = (list, kind) => (...parts) => {
  list.push({ t: now(), client: handling, kind, text: describe(parts).slice(0, 2000) })
}

console.error = record(jsErrors, 'console.error')
console.warn = record(jsWarnings, 'console.warn')
process.on('uncaughtException', record(jsErrors, 'uncaughtException'))
process.on('unhandledRejection', record(jsErrors, 'unhandledRejection'))

// ---------------------------------------------------------------------------------------------------------- frames

const SYNC = ['sync1', 'sync2', 'update']
const OTHER = { 1: 'awareness', 2: 'auth', 3: 'query' }

const noFrames = () => ({
  frames: 0,
  bytes: 0,
  sync1: 0,
  sync2: 0,
  update: 0,
  awareness: 0, // frames that name at least one client
  awarenessEmpty: 0, // keepalives: awareness of nobody
  awarenessEntries: 0, // clients named, over all frames
  auth: 0,
  query: 0,
  other: 0,
  text: 0
})

/** What a frame is, by its first bytes. */
export const kindOf = (bytes) => {
  if (bytes[0] === 0) return SYNC[bytes[1]] ?? 'other'
  return OTHER[bytes[0]] ?? 'other'
}

const count = (tally, bytes) => {
  tally.frames++
  tally.bytes += bytes.length
  const kind = kindOf(bytes)
  if (kind !== 'awareness') {
    tally[kind]++
    return kind
  }
  const decoder = decoding.createDecoder(bytes)
  decoding.readVarUint(decoder)
  decoding.readVarUint(decoder)
  const clients = decoding.readVarUint(decoder)
  tally[clients === 0 ? 'awarenessEmpty' : 'awareness']++
  tally.awarenessEntries += clients
  return kind
}

const asBytes = (data) =>
  data instanceof Uint8Array ? data : Array.isArray(data) ? Buffer.concat(data) : new Uint8Array(data)

/** A `ws` WebSocket that tells `client` what passes. */
const observed = (client) =>
  class Observed extends WebSocket {
    constructor (url, protocols) {
      super(url, protocols, { perMessageDeflate: client.options.deflate ?? true, maxPayload: 1 << 30 })
      this.createdAt = now()
      this.openedAt = null
      client.sockets++
      // Registered before the provider's own handlers, so they run first.
      this.on('open', () => {
        this.openedAt = now()
        client.opens.push(this.openedAt)
        client.onopen?.(this)
      })
      this.on('message', (data, isBinary) => {
        handling = client.name
        setImmediate(() => { handling = null })
        client.lastReceived = now()
        if (!isBinary) {
          client.received.text++
          return
        }
        const bytes = asBytes(data)
        const kind = count(client.received, bytes)
        if (kind === 'sync2' && this.firstSync2At === undefined) {
          this.firstSync2At = client.lastReceived
          client.openToSync2.push(this.firstSync2At - this.openedAt)
        }
        client.trace?.push([client.lastReceived, 'in', kind, bytes.length])
      })
      this.on('close', (code, reason) => {
        const closed = { t: now(), code, reason: reason.toString(), opened: this.openedAt !== null }
        closed.after = closed.t - (this.openedAt ?? this.createdAt)
        client.closes.push(closed)
        client.emit('connection-close', closed)
      })
      this.on('error', (error) => { client.errors.push({ t: now(), text: error.message }) })
      this.on('unexpected-response', (_request, response) => {
        client.refusals.push({ t: now(), status: response.statusCode })
        this.terminate() // gives the provider the 'error' and 'close' that ws would have given
      })
    }

    send (data, ...rest) {
      const bytes = asBytes(data)
      const kind = count(client.sent, bytes)
      client.trace?.push([now(), 'out', kind, bytes.length])
      if (client.gate?.(kind, bytes, () => super.send(data, ...rest))) return
      super.send(data, ...rest)
    }
  }

// --------------------------------------------------------------------------------------------------------- clients

/** One editor: a Y.Doc, its awareness, a provider. */
export class Client {
  /**
   * @param {object} options
   *   name, url, room, version ('2.1' | '3.0' | '3.1'), params, protocols,
   *   awareness: true (y-websocket's default, state {}), an object (the first state), or false (no local state),
   *   connect, clientID, gc, update (base64, applied before connecting), deflate, resyncInterval, maxBackoffTime,
   *   trace (keep a list of all frames), typeOnOpen ([field, text]: typed at the first open, in the same tick as sync
   *   step 1 goes out), onopen (called with the socket, before the provider hears of it),
   *   gate (called with kind, frame and a function that sends it; true: the frame is kept back)
   * @param {(event: object) => void} report hears the events; undefined for quiet clients
   */
  constructor (options, report) {
    this.name = options.name
    this.options = options
    this.report = report
    this.sockets = 0
    this.opens = []
    this.closes = []
    this.refusals = []
    this.errors = []
    this.ended = [] // 'closed' events of 3.1: told never to come back
    this.statuses = []
    this.syncs = 0
    this.openToSync2 = []
    this.lastReceived = null
    this.sent = noFrames()
    this.received = noFrames()
    this.trace = options.trace ? [] : null
    this.onopen = options.onopen ?? (options.typeOnOpen && (() => this.typeOnce(...options.typeOnOpen)))
    this.gate = options.gate
    this.waiters = new Set()

    this.doc = new Y.Doc({ gc: options.gc ?? true })
    if (options.clientID !== undefined) this.doc.clientID = options.clientID
    if (options.update) Y.applyUpdate(this.doc, Buffer.from(options.update, 'base64'), 'preset')
    this.awareness = new Awareness(this.doc)
    if (options.awareness === false) this.awareness.setLocalState(null)
    else if (typeof options.awareness === 'object') this.awareness.setLocalState(options.awareness)

    const Provider = providers[options.version]
    if (Provider === undefined) throw new Error(`no y-websocket ${options.version}: ${Object.keys(providers)}`)
    const settings = {
      connect: false,
      awareness: this.awareness,
      params: options.params ?? {},
      protocols: options.protocols ?? [],
      WebSocketPolyfill: observed(this),
      disableBc: true
    }
    for (const key of ['resyncInterval', 'maxBackoffTime']) {
      if (options[key] !== undefined) settings[key] = options[key]
    }
    this.provider = new Provider(options.url, options.room, this.doc, settings)
    this.provider.on('status', ({ status }) => {
      this.statuses.push([now(), status])
      this.wake()
    })
    this.provider.on('sync', (state) => {
      if (state) this.syncs++
      this.emit('sync', { state })
    })
    this.provider.on('closed', (event) => {
      this.ended.push({ t: now(), code: event.code, reason: event.reason })
      this.emit('closed', { code: event.code, reason: event.reason })
    })
    this.doc.on('update', () => this.wake())
    this.awareness.on('update', () => this.wake())
    if (options.connect ?? true) this.provider.connect()
  }

  emit (event, detail) {
    this.report?.({ event, client: this.name, t: now(), ...detail })
    this.wake()
  }

  typeOnce (field, text) {
    if (this.opens.length > 1) return
    // The provider's own handler for 'open' runs before the microtask, and sends sync step 1.
    queueMicrotask(() => this.doc.getText(field).insert(0, text))
  }

  wake () {
    for (const check of [...this.waiters]) check()
  }

  /** Resolves to true once `predicate()` holds, to false after `timeout` seconds. Tried at each event and each 20 ms. */
  until (predicate, timeout) {
    return new Promise((resolve) => {
      const finish = (held) => {
        clearInterval(poll)
        clearTimeout(limit)
        this.waiters.delete(check)
        resolve(held)
      }
      const check = () => { if (predicate()) finish(true) }
      const poll = setInterval(check, 20)
      const limit = setTimeout(() => finish(predicate()), timeout * 1000)
      this.waiters.add(check)
      check()
    })
  }

  get socket () { return this.provider.ws }

  /** End the TCP connection without a closing handshake: 'fin' or 'rst'. `back`: let the provider reconnect. */
  cut (how, back) {
    const ws = this.socket
    if (ws === null) return false
    this.provider.shouldConnect = back
    if (how === 'rst') ws._socket?.resetAndDestroy()
    else ws.terminate()
    return true
  }

  /** What y-websocket's own destroy does, and the document with it. Timers end. */
  destroy () {
    this.provider.destroy()
    this.doc.destroy()
  }

  counters () {
    return {
      name: this.name,
      version: this.options.version,
      room: this.options.room,
      clientID: this.doc.clientID,
      connected: this.provider.wsconnected,
      shouldConnect: this.provider.shouldConnect,
      synced: this.provider.synced,
      sockets: this.sockets,
      opens: this.opens,
      closes: this.closes,
      refusals: this.refusals,
      errors: this.errors,
      ended: this.ended,
      statuses: this.statuses,
      syncs: this.syncs,
      openToSync2: this.openToSync2,
      lastReceived: this.lastReceived,
      sent: { ...this.sent },
      received: { ...this.received }
    }
  }
}

// ----------------------------------------------------------------------------------------------------------- edits

const EDITS = {
  'text.insert': (doc, name, index, text, marks) => {
    const type = doc.getText(name)
    const added = typeof text === 'string' ? text : text.repeat.repeat(text.times)
    type.insert(index < 0 ? type.length : index, added, marks)
  },
  'text.delete': (doc, name, index, length) => doc.getText(name).delete(index, length),
  'text.format': (doc, name, index, length, marks) => doc.getText(name).format(index, length, marks),
  'map.set': (doc, name, key, value) => { doc.getMap(name).set(key, value) },
  'map.delete': (doc, name, key) => doc.getMap(name).delete(key),
  'array.push': (doc, name, values) => doc.getArray(name).push(values),
  'array.insert': (doc, name, index, values) => doc.getArray(name).insert(index, values),
  'array.delete': (doc, name, index, length) => doc.getArray(name).delete(index, length),
  'xml.insert': (doc, name, index, tag, attributes = {}, text = '') => {
    const element = new Y.XmlElement(tag)
    for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value)
    if (text !== '') element.insert(0, [new Y.XmlText(text)])
    const fragment = doc.getXmlFragment(name)
    fragment.insert(index < 0 ? fragment.length : index, [element])
  },
  'xml.delete': (doc, name, index, length) => doc.getXmlFragment(name).delete(index, length)
}

/** Make edits; each `[name, ...arguments]` of EDITS. All in one transaction (one frame) or each in its own. */
export const edit = (doc, edits, together) => {
  const run = () => {
    for (const [name, ...args] of edits) {
      if (EDITS[name] === undefined) throw new Error(`no edit ${name}: ${Object.keys(EDITS)}`)
      EDITS[name](doc, ...args)
    }
  }
  if (together) doc.transact(run, 'typed')
  else run()
}

const READERS = {
  text: (doc, name) => doc.getText(name).toString(),
  delta: (doc, name) => doc.getText(name).toDelta(),
  map: (doc, name) => doc.getMap(name).toJSON(),
  array: (doc, name) => doc.getArray(name).toJSON(),
  xml: (doc, name) => doc.getXmlFragment(name).toString()
}

export const read = (doc, type, name) => READERS[type](doc, name)
