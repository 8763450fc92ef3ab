/**
 * Lets Yjs itself take in restores that the server computed, and says what it shows before and after.
 *
 *   node restored.mjs < cases.json
 *
 * Cases: [{snapshot, state, edit, typed}], each an update in base64; `typed` was made on `state` without knowing of
 * `edit`. For each case: {same, converged, state}: whether a document of `state` shows after `edit` what `snapshot`
 * shows; whether documents that heard of `edit` and `typed` in different order show the same; and the first as an update.
 */
import { readFileSync } from 'node:fs'
import * as Y from 'yjs'

const bytes = (text) => new Uint8Array(Buffer.from(text, 'base64'))

const docOf = (...updates) => {
  const doc = new Y.Doc()
  for (const update of updates) Y.applyUpdate(doc, bytes(update))
  return doc
}

const sorted = (object) => Object.fromEntries(Object.entries(object).sort(([a], [b]) => (a < b ? -1 : 1)))

/** A text; where Yjs keeps two pieces with the same formatting, as marks that say nothing lie between, is no matter. */
const joined = (delta) => {
  const parts = []
  for (const { insert, attributes } of delta) {
    const marks = attributes ? JSON.stringify(sorted(attributes)) : null
    const last = parts.at(-1)
    if (last && typeof insert === 'string' && typeof last[0] === 'string' && last[1] === marks) last[0] += insert
    else parts.push([read(insert), marks])
  }
  return parts
}

/** A type with all that is in it, as JSON. */
const read = (type) => {
  if (type instanceof Y.XmlElement) {
    return { name: type.nodeName, attributes: sorted(type.getAttributes()), children: type.toArray().map(read) }
  }
  if (type instanceof Y.XmlFragment) return type.toArray().map(read)
  if (type instanceof Y.Text) return joined(type.toDelta())
  if (type instanceof Y.Map) return sorted(Object.fromEntries([...type.entries()].map(([k, v]) => [k, read(v)])))
  if (type instanceof Y.Array) return type.toArray().map(read)
  return type
}

const shown = (doc) =>
  JSON.stringify([
    read(doc.getText('text')), read(doc.getMap('map')), read(doc.getArray('array')), read(doc.getXmlFragment('xml'))
  ])

const results = JSON.parse(readFileSync(0)).map(({ snapshot, state, edit, typed }) => {
  const restored = docOf(state, edit)
  const one = docOf(state, edit, typed)
  const other = docOf(state, typed, edit)
  return {
    same: shown(restored) === shown(docOf(snapshot)),
    converged: shown(one) === shown(other),
    state: Buffer.from(Y.encodeStateAsUpdate(one)).toString('base64')
  }
})
process.stdout.write(JSON.stringify(results))
