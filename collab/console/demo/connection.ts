import { HocuspocusProvider, HocuspocusProviderWebsocket } from '@hocuspocus/provider'
import { createEncoder, toUint8Array, writeVarUint, writeVarUint8Array } from 'lib0/encoding'
import { createDecoder, readVarString, readVarUint, readVarUint8Array } from 'lib0/decoding'
import { Awareness } from 'y-protocols/awareness'
import { WebsocketProvider } from 'y-websocket'
import type { Doc } from 'yjs'

export type Protocol = 'hocuspocus' | 'y-websocket'

export interface Options {
  doc: Doc
  /** Where the server is: ws(s)://host/path, without a slash at its end. */
  server: string
  room: string
  token: string
  /** Changes of this window that an earlier connection could not get confirmed. */
  waiting: number
  changed: () => void
  /** The room was restored to an earlier version. */
  restored: () => void
}

/**
 * One provider, and what it knows about what is saved.
 *
 * Changes made in this window are numbered. `saved` is the newest of which the server said that it is on disk, with all
 * before it. After each reconnect nothing counts (`confirmed` is false) until the server has said so anew.
 */
export abstract class Connection {
  abstract readonly protocol: Protocol
  abstract readonly provider: HocuspocusProvider | WebsocketProvider
  readonly awareness: Awareness
  made: number
  saved = 0
  connected = false
  confirmed = false
  readOnly = false
  /** Why this window may not be here. */
  denied: string | null = null
  /** Whether the server has turned a change down. */
  refused = false

  protected constructor (protected readonly options: Options) {
    this.awareness = new Awareness(options.doc)
    this.made = options.waiting
  }

  get waiting (): number {
    return this.made - this.saved
  }

  /** Called once the provider listens to the document itself: it has sent a change by the time it is counted here. */
  protected count (): void {
    this.options.doc.on('update', this.onUpdate)
  }

  private readonly onUpdate = (_update: Uint8Array, origin: unknown): void => {
    if (origin === this.provider) return
    this.made += 1
    this.edited()
    this.options.changed()
  }

  /** A change was made here. */
  protected edited (): void {}

  protected confirm (upTo: number): void {
    this.saved = Math.max(this.saved, upTo)
    this.confirmed = true
    this.options.changed()
  }

  protected lost (): void {
    this.connected = false
    this.confirmed = false
    this.refused = false // what was turned down is sent again, and turned down again, or not
    this.options.changed()
  }

  protected deny (reason: string): void {
    this.denied = reason
    this.options.changed()
  }

  destroy (): void {
    this.options.doc.off('update', this.onUpdate)
    this.options.changed = () => {}
  }
}

/** Hocuspocus counts by itself: one more for each change sent, one less for each acknowledgement. */
class OverHocuspocus extends Connection {
  readonly protocol = 'hocuspocus'
  readonly provider: HocuspocusProvider
  private readonly socket: HocuspocusProviderWebsocket

  constructor (options: Options) {
    super(options)
    this.socket = new HocuspocusProviderWebsocket({ url: `${options.server}/hocuspocus` })
    // What was typed offline is queued, and is in the answer to the server's sync step 1, too. The provider counts the
    // second alone, so acknowledgements of the first would make it say "saved" too early: only one of them is sent.
    this.socket.on('open', () => { this.socket['messageQueue'] = [] })
    this.provider = new HocuspocusProvider({
      websocketProvider: this.socket,
      name: options.room,
      document: options.doc,
      awareness: this.awareness,
      token: options.token
    })
    this.provider.on('status', ({ status }: { status: string }) => {
      if (status !== 'connected') this.lost()
      else {
        this.connected = true
        options.changed()
      }
    })
    this.provider.on('authenticated', ({ scope }: { scope: string }) => {
      this.denied = null
      this.readOnly = scope === 'readonly'
      options.changed()
    })
    this.provider.on('authenticationFailed', ({ reason }: { reason: string }) => this.deny(reason))
    this.provider.on('unsyncedChanges', ({ number }: { number: number }) => {
      if (number === 0) this.confirm(this.made)
      else if (this.connected) options.changed()
    })
    this.provider.on('message', ({ event }: { event: MessageEvent }) => this.overhear(new Uint8Array(event.data)))
    this.provider.on('stateless', ({ payload }: { payload: string }) => {
      if (isRestored(payload)) options.restored()
    })
    this.provider.attach()
    this.count()
  }

  /** What the provider does not tell: a change that was turned down, and the end of this document for us. */
  private overhear (frame: Uint8Array): void {
    const decoder = createDecoder(frame)
    readVarString(decoder)
    const type = readVarUint(decoder)
    if (type === 8 && readVarUint(decoder) === 0 && !this.readOnly) {
      this.refused = true
      this.options.changed()
    }
    if (type === 7) this.deny(readVarString(decoder))
  }

  override destroy (): void {
    super.destroy()
    this.provider.destroy()
    this.socket.destroy()
  }
}

const SYNC = 0
const AUTH = 2
const ECHO = 102

/**
 * y-websocket has no acknowledgements. The server echoes a frame of type 102 once everything before it is on disk, so
 * one such question, with the number of the newest change, is always on its way while something is unsaved.
 */
class OverYWebsocket extends Connection {
  readonly protocol = 'y-websocket'
  readonly provider: WebsocketProvider
  /** The socket on which the server has been sent all that this document has. */
  private complete: WebSocket | null = null
  private asked = false

  constructor (options: Options) {
    super(options)
    this.provider = new WebsocketProvider(options.server, encodeURIComponent(options.room), options.doc, {
      awareness: this.awareness,
      params: options.token === '' ? {} : { token: options.token },
      disableBc: true // two windows of one browser meet at the server, too
    })
    const handlers = this.provider.messageHandlers
    const sync = handlers[SYNC]
    handlers[SYNC] = (encoder, decoder, provider, emitSynced, type) => {
      const step = decoder.arr[decoder.pos]
      sync(encoder, decoder, provider, emitSynced, type)
      // The answer to a sync step 1 is sent when this returns; questions asked before it would be about less.
      if (step === 0) queueMicrotask(() => this.offered())
    }
    handlers[AUTH] = () => { // "permission denied": of writing, unless the socket is closed next
      this.readOnly = true
      this.refused = this.waiting > 0
      this.options.changed()
    }
    handlers[ECHO] = (_encoder, decoder) => {
      this.asked = false
      this.confirm(readVarUint(createDecoder(readVarUint8Array(decoder))))
      if (this.waiting > 0) this.ask()
    }
    this.provider.on('status', ({ status }) => {
      this.complete = null
      this.asked = false
      this.readOnly = false
      this.lost()
      this.connected = status === 'connected'
      options.changed()
    })
    this.provider.on('closed', ({ code, reason }) => this.deny(reason === '' ? `closed with ${code}` : reason))
    this.count()
  }

  private offered (): void {
    this.complete = this.provider.ws as WebSocket | null
    this.ask()
  }

  protected override edited (): void {
    this.ask()
  }

  private ask (): void {
    const socket = this.provider.ws as WebSocket | null
    if (this.asked || socket === null || socket !== this.complete || socket.readyState !== WebSocket.OPEN) return
    this.asked = true
    const number = createEncoder()
    writeVarUint(number, this.made)
    const frame = createEncoder()
    writeVarUint(frame, ECHO)
    writeVarUint8Array(frame, toUint8Array(number))
    socket.send(toUint8Array(frame) as Uint8Array<ArrayBuffer>)
  }

  override destroy (): void {
    super.destroy()
    this.provider.destroy()
    this.awareness.destroy()
  }
}

function isRestored (text: string): boolean {
  try {
    return ['restored', 'undone'].includes(JSON.parse(text)?.event)
  } catch {
    return false
  }
}

export function connect (protocol: Protocol, options: Options): Connection {
  return protocol === 'hocuspocus' ? new OverHocuspocus(options) : new OverYWebsocket(options)
}
