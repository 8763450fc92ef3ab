/**
 * All documents of a y-leveldb database as lines of JSON, for `collab import-from json-lines`.
 *
 *   node export-y-leveldb.mjs FOLDER > documents.jsonl
 *
 * Runs beside the node_modules of the y-websocket server, whose y-leveldb and yjs read best what they wrote.
 * That server must be stopped: LevelDB lets one process in.
 */
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { createRequire } from 'node:module'
import { join } from 'node:path'

// From the folder it is started in, wherever this file lies; both as CommonJS, so that there is one Yjs.
const require = createRequire(join(process.cwd(), 'package.json'))
const { LeveldbPersistence } = require('y-leveldb')
const Y = require('yjs')

const [folder] = process.argv.slice(2)
if (!folder || !existsSync(join(folder, 'CURRENT'))) {
  console.error(`${folder ?? 'FOLDER'} is no LevelDB database: name the folder in YPERSISTENCE`)
  process.exit(2)
}
const fail = (error) => {
  console.error(`${folder} cannot be read; it is in use by another process (stop that one first), or damaged: ${error.message}`)
  process.exit(3)
}
process.on('uncaughtException', fail) // y-leveldb 0.1 opens in its constructor, and nobody can wait for that

try {
  const store = new LeveldbPersistence(folder)
  const names = await store.getAllDocNames()
  if (!names) throw new Error('no names')
  for (const room of names) {
    const update = Buffer.from(Y.encodeStateAsUpdate(await store.getYDoc(room))).toString('base64')
    if (!process.stdout.write(JSON.stringify({ room, update }) + '\n')) await once(process.stdout, 'drain')
  }
  await store.destroy()
  console.error(`${names.length} documents`)
} catch (error) {
  fail(error)
}
