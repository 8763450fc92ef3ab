// Makes documents.json: documents as the editor itself stores them, with what it reads and renders.
//
//     mkdir scratch && cd scratch && npm init -y && npm install --legacy-peer-deps yjs@13.6.33 @tiptap/core@3 \
//       @tiptap/pm@3 @tiptap/starter-kit@3 @tiptap/y-tiptap@3 y-prosemirror@1.3.7 @tiptap/extension-{list,table,image}@3 \
//       @tiptap/extension-{mention,highlight,text-style,subscript,superscript,text-align}@3 @tiptap/suggestion@3 \
//       @tiptap/extensions@3 @floating-ui/dom jsdom@24
//     node tests/content/make_documents.mjs scratch > tests/content/documents.json
//
// The other way round, `node make_documents.mjs scratch FILE` reads {update (base64), json} and says whether
// the editor reads in the update what `json` says.

import { createRequire } from 'node:module'
import { readFileSync } from 'node:fs'
import { resolve } from 'node:path'

const require = createRequire(resolve(process.argv[2], 'package.json'))
const { JSDOM } = require('jsdom')
const dom = new JSDOM('<p></p>')
global.window = dom.window
global.document = dom.window.document
global.navigator ??= dom.window.navigator
const Y = require('yjs')
const { getSchema, Mark } = require('@tiptap/core')
const { Node, DOMSerializer } = require('@tiptap/pm/model')
const { prosemirrorToYDoc, yXmlFragmentToProseMirrorRootNode } = require('@tiptap/y-tiptap')
const pick = (name, key) => { const m = require(name); return m[key] ?? m.default }

// A mark that may stand several times on the same text, as comments do.
const Comment = Mark.create({ name: 'comment', excludes: '', addAttributes: () => ({ id: {} }), renderHTML: ({ HTMLAttributes }) => ['span', HTMLAttributes, 0] })
const schema = getSchema([
  pick('@tiptap/starter-kit', 'StarterKit'), pick('@tiptap/extension-list', 'TaskList'), pick('@tiptap/extension-list', 'TaskItem').configure({ nested: true }),
  pick('@tiptap/extension-table', 'Table'), pick('@tiptap/extension-table', 'TableRow'), pick('@tiptap/extension-table', 'TableHeader'), pick('@tiptap/extension-table', 'TableCell'),
  pick('@tiptap/extension-image', 'Image'), pick('@tiptap/extension-mention', 'Mention'),
  pick('@tiptap/extension-highlight', 'Highlight').configure({ multicolor: true }),
  pick('@tiptap/extension-text-style', 'TextStyle'), pick('@tiptap/extension-text-style', 'Color'),
  pick('@tiptap/extension-subscript', 'Subscript'), pick('@tiptap/extension-superscript', 'Superscript'),
  pick('@tiptap/extension-text-align', 'TextAlign').configure({ types: ['heading', 'paragraph'] }), Comment
])

const t = (text, ...marks) => ({ type: 'text', text, ...(marks.length ? { marks: marks.map(m => typeof m === 'string' ? { type: m } : m) } : {}) })
const n = (type, content, attrs) => ({ type, ...(attrs ? { attrs } : {}), ...(content ? { content } : {}) })
const p = (...content) => n('paragraph', content.map(c => typeof c === 'string' ? t(c) : c))
const link = href => ({ type: 'link', attrs: { href } })
const cell = (type, text, attrs) => n(type, [p(text)], attrs)

const cases = {
  empty: [p()],
  paragraphs: [p('One'), p('Grüße 😀 <b>&amp;</b>'), p()],
  headings: [1, 2, 3, 4, 5, 6].map(level => n('heading', [t(`Level ${level}`)], { level })),
  marks: ['bold', 'italic', 'strike', 'code', 'underline', 'subscript', 'superscript'].map(m => p('a ', t('marked', m), ' b')),
  overlapping: [p(t('bold', 'bold'), t('both', 'bold', 'italic'), t('italic', 'italic'), ' plain')],
  links: [p('see ', t('here', link('https://example.org/?a=1&b="2"')), ' and ', t('bold', link('https://example.org'), 'bold')), p(t('bad', link('javascript:alert(1)')))],
  colours: [p(t('yellow', { type: 'highlight', attrs: { color: '#ffcc00' } }), t('red', { type: 'textStyle', attrs: { color: '#ff0000' } }))],
  comments: [p('a', t('one', { type: 'comment', attrs: { id: 1 } }), t('both', { type: 'comment', attrs: { id: 1 } }, { type: 'comment', attrs: { id: 'two' } }))],
  quote: [n('blockquote', [p('first'), n('blockquote', [p('inner')])])],
  lists: [n('bulletList', [n('listItem', [p('a'), n('orderedList', [n('listItem', [p('x')]), n('listItem', [p('y')])], { start: 3 })]), n('listItem', [p('b')])])],
  tasks: [n('taskList', [n('taskItem', [p('done'), n('taskList', [n('taskItem', [p('inner')], { checked: false })])], { checked: true }), n('taskItem', [p('open')], { checked: false })])],
  code: [n('codeBlock', [t('let a = `b`\n\n```\n<x>')], { language: 'js' }), n('codeBlock', [t('plain')])],
  breaks: [p('a', n('hardBreak'), 'b'), n('horizontalRule'), p('c')],
  table: [n('table', [
    n('tableRow', [cell('tableHeader', 'A'), cell('tableHeader', 'B|C', { colwidth: [120] })]),
    n('tableRow', [cell('tableCell', '1'), cell('tableCell', '2', { colspan: 1, rowspan: 1 })]),
    n('tableRow', [cell('tableCell', 'wide', { colspan: 2, rowspan: 1, colwidth: [120, 80] })])])],
  image: [n('image', null, { src: 'https://example.org/a.png', alt: 'An "A"', title: 'T', width: 100, height: 50 })],
  mention: [p('hi ', n('mention', null, { id: 'ana', label: 'Ana' }), '!')],
  aligned: [n('paragraph', [t('right')], { textAlign: 'right' }), n('heading', [t('centre')], { level: 2, textAlign: 'center' })]
}

const base64 = bytes => Buffer.from(bytes).toString('base64')
const read = ydoc => yXmlFragmentToProseMirrorRootNode(ydoc.getXmlFragment('default'), schema)

if (process.argv[3]) {
  let bad = 0
  const strip = v => Array.isArray(v) ? v.map(strip) : v && typeof v === 'object'
    ? Object.fromEntries(Object.entries(v).map(([k, x]) => [k, strip(x)]).filter(([k, x]) => x !== null && !(k === 'attrs' && !Object.keys(x).length)).sort()) : v
  for (const { name, update, json } of JSON.parse(readFileSync(process.argv[3]))) {
    const ydoc = new Y.Doc()
    Y.applyUpdate(ydoc, Buffer.from(update, 'base64'))
    const found = JSON.stringify(strip(read(ydoc).toJSON()))
    if (found !== JSON.stringify(strip(json))) { bad++; console.log(name, found, JSON.stringify(strip(json))) }
  }
  console.log(bad ? `${bad} differ` : 'all the same')
  process.exit(bad ? 1 : 0)
}

console.log(JSON.stringify({
  marks: Object.keys(schema.marks),
  cases: Object.entries(cases).map(([name, content]) => {
    const ydoc = prosemirrorToYDoc(Node.fromJSON(schema, { type: 'doc', content }), 'default')
    const node = read(ydoc)
    const box = document.createElement('div')
    box.appendChild(DOMSerializer.fromSchema(schema).serializeFragment(node.content, { document }))
    return { name, update: base64(Y.encodeStateAsUpdate(ydoc)), json: node.toJSON(), html: box.innerHTML }
  })
}, null, 1))
