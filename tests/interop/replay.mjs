/**
 * Replays a recorded session of two people through a server, by two real y-websocket providers, one per person.
 *
 *   node replay.mjs --url ws://127.0.0.1:1234 --room replay --trace friendsforever.json.gz [--versions 3.1,2.1]
 *                   [--timeout 300] [--field text] [--token TOKEN]
 *
 * The trace: {endContent, numAgents, txns: [{parents: [index], agent, patches: [[position, deleted, inserted]]}]}.
 * A transaction's positions refer to the document made by exactly its parents and their ancestors.
 *
 * How each edit is made on a document that holds exactly its parents
 * ------------------------------------------------------------------
 * Each person's document is the provider's own Y.Doc: it is edited directly, and learns of the other's edits from the
 * server alone. Both people type one after another, so "the parents' closure" of an edit is: all of one's own earlier
 * edits, and the first k of the other's (checked when the trace is read). The document must have taken in those k and
 * no more.
 *
 * Receiving cannot be rationed: the server may merge what arrives together, and half an update cannot be applied. So
 * sending is: each edit's frame, encoded by the provider, waits in an outbox in front of the socket, as if the network
 * were slow, until the other person's next edit needs it. Then it goes out on the real socket, as early as the
 * recording allows. Nobody can receive what was not sent, so "no more than k" holds whatever the server merges;
 * "all k" is waited for by looking into the receiving document (clocks for insertions, tombstones for deletions).
 *
 * Deadlock is impossible: of the edits not yet made, the first one in the trace has all its parents made, and
 * whatever it needs has been released.
 *
 * Result, one JSON object on stdout: {ok, edits, seconds, waits, frames, agents: [{version, ok, length, opens}]}.
 * Progress goes to stderr. Exit code 0 only if both documents hold exactly endContent and no connection broke.
 */
import { readFileSync } from 'node:fs'
import { gunzipSync } from 'node:zlib'
import { parseArgs } from 'node:util'
import * as Y from 'yjs'
import { Client, jsErrors, now } from './clients.mjs'

const { values: options } = parseArgs({
  options: {
    url: { type: 'string' },
    room: { type: 'string' },
    trace: { type: 'string', default: process.env.EDITING_TRACE },
    versions: { type: 'string', default: '3.1,2.1' },
    field: { type: 'string', default: 'text' },
    timeout: { type: 'string', default: '300' },
    token: { type: 'string' }
  }
})

const progress = (text) => process.stderr.write(text + '\n')

const readTrace = (path) => {
  const bytes = readFileSync(path)
  return JSON.parse(path.endsWith('.gz') ? gunzipSync(bytes) : bytes)
}

/** Each agent's edits in order: {patches, needs}; `needs` is how many edits of the other must be there, exactly. */
const byAgent = ({ txns, numAgents }) => {
  if (numAgents !== 2) throw new Error(`a trace of two people is needed, this one has ${numAgents}`)
  const edits = [[], []]
  const known = [] // per transaction: how many edits of each agent are in its closure, itself included
  txns.forEach(({ parents, agent, patches }, index) => {
    const seen = [0, 1].map((a) => Math.max(0, ...parents.map((p) => known[p][a])))
    if (seen[agent] !== edits[agent].length) {
      throw new Error(`transaction ${index} does not follow its own author's last edit`)
    }
    edits[agent].push({ patches, needs: seen[1 - agent] })
    seen[agent]++
    known.push(seen)
  })
  return edits
}

/** Whether all items of [clock, clock + length) of this client are tombstones in the document. */
const allDeleted = (store, client, clock, length) => {
  if (Y.getState(store, client) < clock + length) return false
  for (let at = clock; at < clock + length;) {
    const item = Y.getItem(store, Y.createID(client, at))
    if (!item.deleted) return false
    at = item.id.clock + item.length
  }
  return true
}

/** One person: a provider, the edits still to be made, and the outbox in front of the socket. */
class Author {
  constructor (agent, version, edits) {
    this.edits = edits
    this.made = [] // per edit: {clock, deletions}, what others can see of it
    this.outbox = []
    this.released = 0
    this.permitted = 0 // how many of my edits the other may have
    this.held = 0 // how many of the other's edits this document is known to hold
    this.waits = 0
    this.client = new Client({
      name: `agent${agent}`,
      url: options.url,
      room: options.room,
      version,
      params: options.token ? { token: options.token } : {},
      clientID: agent + 1, // settles the order of simultaneous insertions as in the recording
      gate: (kind, _bytes, send) => kind === 'update' && this.outbox.push(send) > 0
    })
    this.text = this.client.doc.getText(options.field)
    this.client.doc.on('afterTransaction', (transaction) => { this.deletions = transaction.deleteSet.clients })
  }

  release () {
    while (this.released < this.permitted && this.outbox.length > 0) {
      this.released++
      this.outbox.shift()()
    }
  }

  /** The other may have my first `count` edits. */
  permit (count) {
    this.permitted = count
    this.release()
  }

  /** Whether this document holds the first `count` edits of `other`. */
  holds (count, other) {
    const { store } = this.client.doc
    for (; this.held < count; this.held++) {
      const edit = other.made[this.held]
      if (edit === undefined || Y.getState(store, other.client.doc.clientID) < edit.clock) return false
      for (const [client, ranges] of edit.deletions) {
        if (!ranges.every(({ clock, len }) => allDeleted(store, client, clock, len))) return false
      }
    }
    return true
  }

  make ({ patches, needs }, other) {
    const clock = (author) => Y.getState(this.client.doc.store, author.client.doc.clientID)
    const expected = needs === 0 ? 0 : other.made[needs - 1].clock
    if (clock(other) !== expected) throw new Error(`the document holds ${clock(other)}, not ${expected}, of the other`)
    this.client.doc.transact(() => {
      for (const [position, deleted, inserted] of patches) {
        if (deleted > 0) this.text.delete(position, deleted)
        if (inserted !== '') this.text.insert(position, inserted)
      }
    }, 'replay')
    this.made.push({ clock: clock(this), deletions: this.deletions })
    this.release()
  }

  async type (other, deadline) {
    for (const edit of this.edits) {
      other.permit(edit.needs)
      if (!this.holds(edit.needs, other)) {
        this.waits++
        if (!await this.client.until(() => this.holds(edit.needs, other), deadline - now())) {
          throw new Error(`edit ${this.made.length} waits in vain: ${this.held} of ${edit.needs} arrived`)
        }
      }
      this.make(edit, other)
      if (this.made.length % 5000 === 0) progress(`${this.client.name}: ${this.made.length} of ${this.edits.length}`)
      await new Promise(setImmediate) // let the sockets breathe, so that both type at once
    }
    other.permit(Infinity)
  }
}

const main = async () => {
  for (const name of ['url', 'room', 'trace']) if (!options[name]) throw new Error(`--${name} is needed`)
  const trace = readTrace(options.trace)
  const edits = byAgent(trace)
  const versions = options.versions.split(',')
  const authors = edits.map((list, agent) => new Author(agent, versions[agent % versions.length], list))
  const [anna, ben] = authors
  const began = now()
  const deadline = began + Number(options.timeout)
  for (const { client } of authors) {
    if (!await client.until(() => client.provider.synced, 10)) throw new Error(`${client.name} was not synced`)
  }
  await Promise.all([anna.type(ben, deadline), ben.type(anna, deadline)])
  const done = ({ text }) => text.toString() === trace.endContent
  await Promise.all(authors.map((author) => author.client.until(() => done(author), 30)))
  const seconds = now() - began
  const agents = authors.map((author) => ({
    version: author.client.options.version,
    ok: done(author),
    length: author.text.length,
    edits: author.made.length,
    opens: author.client.opens.length,
    waits: author.waits,
    sent: author.client.sent.update,
    received: author.client.received.update
  }))
  for (const { client } of authors) client.destroy()
  const ok = agents.every((agent) => agent.ok && agent.opens === 1) && jsErrors.length === 0
  return { ok, edits: trace.txns.length, seconds, agents, errors: jsErrors }
}

main().then(
  (result) => {
    process.stdout.write(JSON.stringify(result) + '\n')
    process.exit(result.ok ? 0 : 1)
  },
  (error) => {
    process.stdout.write(JSON.stringify({ ok: false, error: error.stack, errors: jsErrors }) + '\n')
    process.exit(1)
  }
)
