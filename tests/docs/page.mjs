/**
 * A page without a browser: runs the script of the tutorial on the four elements that it asks for.
 *
 *     node page.mjs FOLDER      FOLDER has main.js and a node_modules
 *
 * Reads commands from standard input, one JSON array per line, and answers each with what the page then shows:
 *     ["type", start, end, text]   select from start to end and type over it
 *     ["select", start, end]       move the cursor
 *     ["name", text]               change the name
 *     ["look"]
 */
import { createRequire } from 'node:module'
import { join, resolve } from 'node:path'
import { createInterface } from 'node:readline'
import { pathToFileURL } from 'node:url'

const folder = resolve(process.argv[2])

class Element {
  #listeners = []
  value = ''
  textContent = ''
  selectionStart = 0
  selectionEnd = 0

  addEventListener (type, listener) {
    if (type !== 'input') throw new Error(`a page without a browser knows no ${type}`)
    this.#listeners.push(listener)
  }

  setSelectionRange (start, end) {
    this.selectionStart = start
    this.selectionEnd = end
  }

  input () {
    for (const listener of this.#listeners) listener()
  }
}

const elements = Object.fromEntries(['editor', 'name', 'people', 'status'].map((id) => [id, new Element()]))
globalThis.document = { getElementById: (id) => elements[id] ?? null }
globalThis.WebSocket ??= createRequire(join(folder, 'main.js'))('ws') // Node has its own from version 22 on

await import(pathToFileURL(join(folder, 'main.js')))

const { editor, name, people, status } = elements
const commands = {
  type: (start, end, text) => {
    editor.value = editor.value.slice(0, start) + text + editor.value.slice(end)
    editor.setSelectionRange(start + text.length, start + text.length)
    editor.input()
  },
  select: (start, end) => editor.setSelectionRange(start, end),
  name: (text) => {
    name.value = text
    name.input()
  },
  look: () => {}
}

for await (const line of createInterface({ input: process.stdin })) {
  const [command, ...values] = JSON.parse(line)
  commands[command](...values)
  console.log(JSON.stringify({
    text: editor.value,
    cursor: [editor.selectionStart, editor.selectionEnd],
    name: name.value,
    people: people.textContent,
    status: status.textContent
  }))
}
process.exit()
