/**
 * What takes hundreds of short-lived clients: done here in one command, so that timing is not blurred by the pipe.
 */
import { Client, edit, now } from './clients.mjs'

/** Run `work(item, index)` for all items, at most `width` at a time; results in order. */
const eachOf = async (items, width, work) => {
  const results = new Array(items.length)
  let next = 0
  const lane = async () => {
    while (next < items.length) {
      const index = next++
      results[index] = await work(items[index], index)
    }
  }
  await Promise.all(Array.from({ length: Math.min(width, items.length) }, lane))
  return results
}

const ended = (client) => () => client.closes.length > 0

/**
 * For each room: `each` clients created in the same tick, with nobody there before. Every client types one word once
 * it is synced (so that each room is seen to be one room), then all leave.
 *
 * Returns per room: `sync`, the seconds from open to the first sync step 2 of each client (null: never came), and
 * `together`, whether each client saw the words of all.
 */
export const newRooms = ({ url, rooms, versions, each, concurrency, timeout }) =>
  eachOf(rooms, concurrency, async (room, index) => {
    const group = Array.from({ length: each }, (_, nth) => new Client({
      name: `${room}#${nth}`, url, room, version: versions[(index + nth) % versions.length], deflate: false
    }))
    await Promise.all(group.map((client) => client.until(() => client.openToSync2.length > 0, timeout)))
    const sync = group.map((client) => client.openToSync2[0] ?? null)
    let together = false
    if (!sync.includes(null)) {
      for (const client of group) edit(client.doc, [['map.set', 'seen', client.name, true]])
      const all = () => group.every((client) => client.doc.getMap('seen').size === each)
      together = (await Promise.all(group.map((client) => client.until(all, timeout)))).every(Boolean)
    }
    for (const client of group) client.destroy()
    return { room, sync, together, opens: group.map((client) => client.opens.length) }
  })

/**
 * For each room: connect, and in the same instant as the connection opens type `text` into `field` and leave.
 *
 * `how`: 'close' (the provider's destroy: a closing handshake, whose answer proves that the edit reached the server),
 * 'fin' or 'rst' (the process died: nothing is proven). `delay`: milliseconds between typing and leaving; with 0 the
 * first sync step, the edit and the close frame leave in one TCP segment.
 *
 * Returns per room: `sent`, and `answered`: the close code that came back (null: none).
 */
export const typeAndLeave = ({ url, rooms, versions, field, text, how, delay, concurrency, timeout }) =>
  eachOf(rooms, concurrency, async (room, index) => {
    let left = null
    const client = new Client({
      name: room,
      url,
      room,
      version: versions[index % versions.length],
      deflate: false,
      onopen: (ws) => {
        const tcp = ws._socket
        tcp.cork() // let nothing out before all of it is written
        // The provider's own handler for 'open' runs right after this one and sends sync step 1.
        queueMicrotask(() => {
          edit(client.doc, [['text.insert', field, 0, text ?? room]])
          left = client.sent.update
          if (delay > 0) tcp.uncork()
          const leave = () => {
            client.provider.shouldConnect = false
            if (how === 'close') client.destroy()
            if (delay === 0) tcp.uncork()
            if (how === 'fin') ws.terminate()
            if (how === 'rst') tcp.resetAndDestroy()
          }
          if (delay > 0) setTimeout(leave, delay)
          else leave()
        })
      }
    })
    await client.until(ended(client), timeout)
    const { code } = client.closes[0] ?? {}
    if (how !== 'close') client.destroy()
    return { room, sent: left === 1, answered: code ?? null }
  })

/** For each room: what a client that comes fresh reads from `field`; null if it was not served in time. */
export const readRooms = ({ url, rooms, versions, field, concurrency, timeout }) =>
  eachOf(rooms, concurrency, async (room, index) => {
    const client = new Client({
      name: room, url, room, version: versions[index % versions.length], deflate: false, awareness: false
    })
    const began = now()
    const served = await client.until(() => client.provider.synced, timeout)
    const text = served ? client.doc.getText(field).toString() : null
    client.destroy()
    return { room, text, seconds: now() - began }
  })
