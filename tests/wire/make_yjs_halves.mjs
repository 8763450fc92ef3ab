// Makes yjs_halves.json: what Yjs makes of characters that an editor cuts in two.
//
//     node tests/wire/make_yjs_halves.mjs > tests/wire/yjs_halves.json      (after `make test` or `make node`)
//
// Each case: the updates of two editors in the order in which they were made, the text (a half is U+FFFD, as in the
// updates), and the state vector. Histories of which Yjs itself makes two different texts are left out: there an editor
// keeps the halves that it has in memory, and the other one reads U+FFFD.

import * as Y from '../interop/node_modules/yjs/dist/yjs.mjs'

const cases = []

const halved = text => text.replace(/[\uD800-\uDBFF](?![\uDC00-\uDFFF])|(?<![\uD800-\uDBFF])[\uDC00-\uDFFF]/g, '\uFFFD')

/** One case: `edit` is given two editors and `sync`, which brings them together. */
function add (name, edit) {
  const docs = [1, 2].map(id => Object.assign(new Y.Doc(), { clientID: id }))
  const updates = []
  for (const doc of docs) {
    doc.on('update', (update, origin) => { if (origin !== 'sync') updates.push(Buffer.from(update).toString('base64')) })
  }
  const sync = () => {
    for (const to of docs) {
      for (const from of docs) Y.applyUpdate(to, Y.encodeStateAsUpdate(from, Y.encodeStateVector(to)), 'sync')
    }
  }
  edit(...docs, sync)
  sync()
  sync()
  const [text, other] = docs.map(doc => halved(doc.getText('text').toString()))
  if (text !== other) return
  cases.push({ name, updates, text, vector: Object.fromEntries(Y.decodeStateVector(Y.encodeStateVector(docs[0]))) })
}

/** A small generator of the same numbers on every machine. */
function lcg (seed) {
  return below => {
    seed = (seed * 48271) % 2147483647
    return seed % below
  }
}

/** A case of one editor's text. */
function alone (name, edit) {
  add(name, a => edit(a.getText('text'), a))
}

alone('the second half deleted', text => {
  text.insert(0, 'a😀b')
  text.delete(2, 1)
  text.insert(text.length, 'c')
})

alone('the first half deleted', text => {
  text.insert(0, 'a😀b')
  text.delete(1, 1)
  text.insert(text.length, 'c')
})

alone('nothing else there', text => {
  text.insert(0, '😀')
  text.delete(1, 1)
  text.insert(text.length, 'c')
})

alone('written between', text => {
  text.insert(0, 'a😀b😀c')
  text.insert(2, 'X')
  text.insert(6, 'Y')
})

alone('the second half replaced', (text, doc) => {
  text.insert(0, 'a😀b')
  doc.transact(() => {
    text.delete(2, 1)
    text.insert(2, 'Z')
  })
  text.insert(text.length, 'c')
})

alone('formatted up to the middle', text => {
  text.insert(0, 'a😀b')
  text.format(0, 2, { bold: true })
})

add('two editors', (a, b, sync) => {
  a.getText('text').insert(0, 'é😀🇨🇭x')
  sync()
  b.getText('text').delete(2, 1)
  a.getText('text').insert(3, 'Q')
  sync()
  b.getText('text').delete(4, 2)
})

const random = lcg(7)
for (let round = 0; round < 24; round++) {
  add(`random ${round}`, (a, b, sync) => {
    for (let step = 0; step < 25; step++) {
      const text = [a, b][random(2)].getText('text')
      const act = random(5)
      if (act < 2) text.insert(random(text.length + 1), ['x', '😀', 'é😀z', '🇨🇭'][random(4)])
      else if (act === 2 && text.length > 0) text.delete(random(text.length), 1)
      else if (act === 3) sync()
      else text.insert(random(text.length + 1), 'q')
    }
  })
}

console.log('[\n' + cases.map(made => JSON.stringify(made)).join(',\n') + '\n]')
