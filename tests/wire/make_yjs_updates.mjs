// Makes yjs_updates.json: updates that Yjs itself wrote, with what Yjs itself reads in them.
//
//     node tests/wire/make_yjs_updates.mjs > tests/wire/yjs_updates.json      (after `make test` or `make node`)
//
// Each case: the updates of its editors in the order in which they were made, the whole document as one update, its
// state vector, the content that every reader has to find, and (`refused`) why our server does not take it.

import * as Y from '../interop/node_modules/yjs/dist/yjs.mjs'

const cases = []
const base64 = bytes => Buffer.from(bytes).toString('base64')

/** What Yjs reads in an update: runs of structs, deleted ranges; each as [client, first clock, clock after the last]. */
function read (update) {
  const { structs, ds } = Y.decodeUpdate(update)
  const runs = []
  for (const struct of structs) {
    const { client, clock } = struct.id
    if (struct.constructor === Y.Skip) continue
    const last = runs.at(-1)
    if (last !== undefined && last[0] === client && last[2] === clock) last[2] += struct.length
    else runs.push([client, clock, clock + struct.length])
  }
  const deletes = []
  ds.clients.forEach((ranges, client) => ranges.forEach(({ clock, len }) => deletes.push([client, clock, clock + len])))
  return { update: base64(update), structs: runs, deletes }
}

/** One case: `edit` is given editors with the ids 1, 2, 3 and `sync`, which brings them all together. */
function add (name, edit, { refused = null, options = {}, inexact = false } = {}) {
  const docs = [1, 2, 3].map(id => Object.assign(new Y.Doc(options), { clientID: id }))
  const updates = []
  docs.forEach(doc => doc.on('update', (update, origin) => { if (origin !== 'sync') updates.push(update) }))
  const sync = () => {
    for (const to of docs) {
      for (const from of docs) Y.applyUpdate(to, Y.encodeStateAsUpdate(from, Y.encodeStateVector(to)), 'sync')
    }
  }
  const extra = edit(...docs, sync) || []
  sync()
  const [doc] = docs
  const whole = Y.encodeStateAsUpdate(doc)
  cases.push({
    name,
    refused,
    inexact, // Yjs and yrs are known to read it differently
    updates: updates.map(read),
    extra: extra.map(read), // further updates about the same document, in no order
    whole: read(whole),
    v2: base64(Y.encodeStateAsUpdateV2(doc)),
    vector: Object.fromEntries(Y.decodeStateVector(Y.encodeStateVector(doc))),
    text: doc.getText('text').toString(),
    list: doc.share.has('list') ? JSON.stringify(doc.getArray('list').toJSON()) : null
  })
}

/** A small generator of the same numbers on every machine. */
function lcg (seed) {
  return below => {
    seed = (seed * 48271) % 2147483647
    return seed % below
  }
}

add('nothing', () => {})

add('typing', a => {
  for (const letter of 'hello') a.getText('text').insert(a.getText('text').length, letter)
})

add('text with all widths of characters', (a, b, c, sync) => {
  a.getText('text').insert(0, 'aé€😀z')
  sync()
  b.getText('text').insert(5, '🇨🇭ü')
  c.getText('text').delete(1, 2)
})

add('formatting and embeds', (a, b, c, sync) => {
  const text = a.getText('text')
  text.insert(0, 'bold and linked')
  text.format(0, 4, { bold: true })
  text.format(9, 6, { link: { href: 'https://example.org/é', blank: [true, null] } })
  sync()
  b.getText('text').insertEmbed(5, { image: 'x.png', size: [1, 2.5] })
  b.getText('text').insert(3, '!', { italic: 'ja' })
  c.getText('text').format(0, 15, { bold: null })
  c.getText('text').applyDelta([{ retain: 2 }, { insert: 'new', attributes: { code: true } }, { delete: 3 }])
})

add('every value', a => {
  const values = [undefined, null, true, false, 0, -1, 63, 64, -64, 2 ** 31, -(2 ** 31), 2 ** 53 - 1, 1.5, 0.1, -0, 1e300,
    '', 'é😀', [], {}, [[1, [2, [3]]]], { a: { b: [{ c: null }] } }, new Uint8Array([1, 2, 255]), { bytes: new Uint8Array(2) }]
  values.forEach((value, i) => a.getMap('map').set(`key${i}`, value))
  a.getArray('array').push(values.slice(1)) // an undefined of its own is not taken
  a.getMap('map').set('big', 2n ** 40n)
  a.getArray('list').push([1, 'two', null, { three: [3] }])
})

add('binary content', a => {
  a.getMap('map').set('bytes', new Uint8Array([0, 128, 255]))
  a.getArray('array').insert(0, [new Uint8Array(300)])
})

add('subdocuments', a => {
  a.getMap('map').set('plain', new Y.Doc({ guid: 'one' }))
  a.getMap('map').set('rich', new Y.Doc({ guid: 'two', autoLoad: true, meta: { title: 'é' }, gc: false }))
  a.getArray('array').push([new Y.Doc({ guid: 'three' })])
})

add('nested shared types', (a, b, c, sync) => {
  const inner = new Y.Map()
  a.getArray('array').push([inner, new Y.Text('in a list'), new Y.Array()])
  inner.set('deeper', new Y.Map([['k', 1]]))
  sync()
  b.getArray('array').get(2).push([new Y.Text('deep')])
  c.getArray('array').get(0).get('deeper').set('k', 2)
})

add('map, last writer wins', (a, b, c, sync) => {
  ;[a, b, c].forEach((doc, i) => doc.getMap('map').set('key', i))
  sync()
  b.getMap('map').set('key', 'again')
  a.getMap('map').delete('key')
})

add('xml', (a, b, c, sync) => {
  const root = a.getXmlFragment('xml')
  const p = new Y.XmlElement('p')
  p.setAttribute('class', 'é')
  root.insert(0, [p, new Y.XmlText('loose')])
  p.insert(0, [new Y.XmlText('inside'), new Y.XmlElement('br')])
  sync()
  b.getXmlFragment('xml').get(0).get(0).format(0, 3, { em: {} })
  c.getXmlFragment('xml').get(0).setAttribute('class', 'other')
  c.getXmlFragment('xml').delete(1, 1)
})

add('xml hook', a => {
  a.getXmlFragment('xml').insert(0, [new Y.XmlHook('calendar')])
}, { refused: 'shared type 5' })

add('json content of old versions', a => {
  const array = a.getArray('list')
  a.transact(transaction => {
    const content = new Y.ContentJSON([1, 'x', { a: null }])
    new Y.Item(Y.createID(a.clientID, 0), null, null, null, null, array, null, content).integrate(transaction, 0)
  })
}, { refused: 'JSON content' })

add('deleting ranges', (a, b, c, sync) => {
  a.getText('text').insert(0, 'abcdefghijklmnopqrstuvwxyz')
  a.getArray('list').push([1, 2, 3, 4, 5, 6, 7, 8])
  sync()
  a.getText('text').delete(2, 5)
  b.getText('text').delete(5, 10)
  c.getText('text').insert(6, 'NEW')
  c.getText('text').delete(0, 3)
  b.getArray('list').delete(1, 3)
  a.getArray('list').delete(3, 3)
})

add('undo and redo', a => {
  const text = a.getText('text')
  const undo = new Y.UndoManager(text, { captureTimeout: 0 })
  text.insert(0, 'one ')
  text.insert(4, 'two ')
  text.delete(0, 2)
  undo.undo()
  undo.undo()
  undo.redo()
  text.insert(0, '> ')
  undo.undo()
})

for (const gc of [true, false]) {
  add(`a deleted tree, ${gc ? '' : 'not '}garbage collected`, (a, b, c, sync) => {
    const p = new Y.XmlElement('section')
    a.getXmlFragment('xml').insert(0, [p])
    for (let i = 0; i < 5; i++) p.insert(i, [new Y.XmlText(`paragraph ${i}`)])
    a.getText('text').insert(0, 'kept, gone')
    sync()
    b.getXmlFragment('xml').delete(0, 1)
    b.getText('text').delete(4, 6)
    c.getXmlFragment('xml').get(0)?.insert(1, [new Y.XmlText('too late')])
  }, { options: { gc } })
}

add('holes: skips, differences, pending parts', (a, b, c, sync) => {
  const updates = []
  a.on('update', update => updates.push(update))
  const text = a.getText('text')
  for (const letter of 'abcdefghij') text.insert(text.length, letter)
  const late = new Y.Doc() // knows the end of it, not the beginning
  Y.applyUpdate(late, updates[0])
  Y.applyUpdate(late, updates[5])
  Y.applyUpdate(late, updates[8])
  b.getText('text').insert(0, 'from b ')
  sync()
  c.getText('text').delete(3, 4)
  const whole = Y.encodeStateAsUpdate(a)
  return [
    Y.mergeUpdates([updates[0], updates[3], updates[7]]),
    Y.mergeUpdates([updates[9], updates[4]]),
    Y.mergeUpdates([updates[1], Y.encodeStateAsUpdate(b, Y.encodeStateVectorFromUpdate(updates[4]))]),
    Y.encodeStateAsUpdate(late),
    Y.diffUpdate(whole, Y.encodeStateVectorFromUpdate(updates[0])),
    Y.diffUpdate(whole, Y.encodeStateVector(late)),
    Y.diffUpdate(whole, Y.encodeStateVector(a)),
    Y.mergeUpdates(updates)
  ]
})

add('characters cut in two', (a, b, c, sync) => {
  a.getText('text').insert(0, 'a😀b😀c')
  sync()
  b.getText('text').delete(2, 1)
  c.getText('text').insert(5, 'X')
}, { inexact: true })

for (let seed = 1; seed <= 20; seed++) {
  add(`three editors, history ${seed}`, (a, b, c, sync) => {
    const below = lcg(seed * 7919)
    for (let step = 0; step < 60; step++) {
      const doc = [a, b, c][below(3)]
      const text = doc.getText('text')
      const list = doc.getArray('list')
      const map = doc.getMap('map')
      const xml = doc.getXmlFragment('xml')
      switch (below(10)) {
        case 0: case 1: text.insert(below(text.length + 1), 'typed'.slice(0, 1 + below(5))); break
        case 2: if (text.length > 0) { const at = below(text.length); text.delete(at, 1 + below(Math.min(4, text.length - at))) } break
        case 3: if (text.length > 2) text.format(below(text.length - 1), 1, { [['b', 'i'][below(2)]]: below(2) === 0 ? true : null }); break
        case 4: list.insert(below(list.length + 1), [step, { step }, [step, 'é']].slice(below(3))); break
        case 5: if (list.length > 0) list.delete(below(list.length), 1); break
        case 6: map.set('kmn'[below(3)], [step, new Y.Map([['in', step]]), new Y.Text('t'), 'é'][below(4)]); break
        case 7: xml.insert(below(xml.length + 1), [below(2) ? new Y.XmlElement('p') : new Y.XmlText('words')]); break
        case 8: if (xml.length > 0) xml.delete(below(xml.length), 1); break
        case 9: if (below(2)) sync(); break
      }
    }
  })
}

console.log(`[\n${cases.map(entry => JSON.stringify(entry)).join(',\n')}\n]`)
