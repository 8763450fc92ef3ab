/**
 * Hosts many real y-websocket and Hocuspocus providers for a test written in another language.
 *
 * One JSON object per line on stdin: `{"id": 1, "cmd": "create", ...}`. Each gets one line on stdout:
 * `{"id": 1, "ok": true, "result": ...}` or `{"id": 1, "ok": false, "error": "..."}`. In between come events:
 * `{"event": "sync" | "connection-close" | "closed" | "js-error", "client": "name", "t": seconds, ...}`.
 * Ends when stdin ends. Its Python side, with the meaning of every command, is tests/support/node.py.
 */
import { createInterface } from 'node:readline'
import * as Y from 'yjs'
import { Client, edit, jsErrors, jsWarnings, now, read } from './clients.mjs'
import { newRooms, readRooms, typeAndLeave } from './crowds.mjs'
import { hocuspocus } from './hocuspocus.mjs'

const clients = new Map()
let made = 0

const say = (line) => process.stdout.write(JSON.stringify(line) + '\n')

const find = (name) => {
  const client = clients.get(name)
  if (client === undefined) throw new Error(`no client ${name}`)
  return client
}

const base64 = (bytes) => Buffer.from(bytes).toString('base64')

const untilTrue = {
  synced: (client) => () => client.provider.synced,
  connected: (client) => () => client.provider.wsconnected,
  disconnected: (client) => () => !client.provider.wsconnected,
  closed: (client) => () => client.ended.length > 0,
  opens: (client, { count }) => () => client.opens.length >= count,
  text: (client, { name, equals }) => () => client.doc.getText(name).toString() === equals,
  length: (client, { name, equals }) => () => client.doc.getText(name).length === equals,
  value: (client, { type, name, equals }) => {
    const wanted = JSON.stringify(equals)
    return () => JSON.stringify(read(client.doc, type, name)) === wanted
  },
  // every id listed is present (or, with `gone`, absent) in the client's awareness
  present: (client, { ids }) => () => ids.every((id) => client.awareness.getStates().has(id)),
  gone: (client, { ids }) => () => ids.every((id) => !client.awareness.getStates().has(id)),
  states: (client, { equals }) => () => client.awareness.getStates().size === equals
}

const same = (a, b) => Y.equalSnapshots(Y.snapshot(a.doc), Y.snapshot(b.doc))

const commands = {
  hello: () => ({ node: process.version, pid: process.pid, t: now() }),

  create ({ options }) {
    const name = options.name ?? `c${++made}`
    if (clients.has(name)) throw new Error(`client ${name} exists`)
    const client = new Client({ ...options, name }, options.quiet ? undefined : say)
    clients.set(name, client)
    return { name, clientID: client.doc.clientID }
  },

  edit ({ client, edits, together }) {
    const { doc } = find(client)
    edit(doc, edits, together)
    return Y.getState(doc.store, doc.clientID)
  },

  read: ({ client, type, name }) => read(find(client).doc, type, name),

  state ({ client }) {
    const { doc } = find(client)
    return {
      clientID: doc.clientID,
      vector: base64(Y.encodeStateVector(doc)),
      update: base64(Y.encodeStateAsUpdate(doc)),
      pending: doc.store.pendingStructs !== null || doc.store.pendingDs !== null
    }
  },

  presence: ({ client }) => {
    const { awareness } = find(client)
    return [...awareness.getStates()].map(([id, state]) => [id, awareness.meta.get(id).clock, state])
  },

  setPresence ({ client, state }) { find(client).awareness.setLocalState(state) },

  async until ({ client, what, timeout, ...rest }) {
    const one = find(client)
    return one.until(untilTrue[what](one, rest), timeout)
  },

  /** Wait until all these documents are equal: same state vector, same deletions. Returns the odd ones out. */
  async converged ({ names, timeout }) {
    const group = names.map(find)
    const deadline = now() + timeout
    for (;;) {
      const odd = group.filter((client) => !same(client, group[0])).map((client) => client.name)
      if (odd.length === 0 || now() > deadline) return odd
      await new Promise((resolve) => setTimeout(resolve, 20))
    }
  },

  connect: ({ client }) => find(client).provider.connect(),
  disconnect: ({ client }) => find(client).provider.disconnect(),
  cut: ({ client, how, back }) => find(client).cut(how, back),

  setParams ({ client, params }) { find(client).provider.params = params },

  destroy ({ client }) {
    find(client).destroy()
    clients.delete(client)
  },

  /** A frame of your own on the client's socket. */
  inject: ({ client, frame }) => find(client).socket.send(Buffer.from(frame, 'base64')),

  counters: ({ client }) => find(client).counters(),
  allCounters: () => [...clients.values()].map((client) => client.counters()),
  frames: ({ client }) => find(client).trace,

  errors: () => ({ errors: jsErrors, warnings: jsWarnings }),

  /** As a new process: no clients, nothing recorded. Returns the JavaScript errors there were. */
  reset () {
    for (const client of clients.values()) client.destroy()
    clients.clear()
    hocuspocus.hocusReset()
    jsWarnings.length = 0
    return jsErrors.splice(0)
  },

  /** Many commands in one turn of the event loop; waiting ones wait side by side. */
  batch: ({ commands: list }) => Promise.all(list.map(({ cmd, ...args }) => commands[cmd](args))),

  newRooms,
  typeAndLeave,
  readRooms,

  ...hocuspocus
}

const answer = async ({ id, cmd, ...args }) => {
  try {
    if (commands[cmd] === undefined) throw new Error(`no command ${cmd}`)
    say({ id, ok: true, result: (await commands[cmd](args)) ?? null })
  } catch (error) {
    say({ id, ok: false, error: error.stack })
  }
}

const input = createInterface({ input: process.stdin, terminal: false })
input.on('line', (line) => answer(JSON.parse(line)))
input.on('close', () => process.exit(0))
