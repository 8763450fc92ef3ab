import type { Authors } from './authors'
import { get, ofRoom } from './api'
import { h, tint } from './dom'
import { plural, visible } from './format'
import type { Difference, Gone, Node_, Run, Step, Writers } from './types'

interface Piece { text: string, kind: 'keep' | 'delete' | 'insert', author: string | null, by: string | null }
type Line = Piece[]

/** The texts at a moment and now, side by side, and who made the difference. */
export async function compare (room: string, at: string, authors: Authors, signal: AbortSignal): Promise<HTMLElement> {
  const [difference, writers] = await Promise.all([
    get<Difference>(`${ofRoom(room)}/diff`, { from: at, to: 'now' }, signal),
    get<Writers>(`${ofRoom(room)}/attribution`, {}, signal)
  ])
  const paper = h('div', { class: 'compared' })
  const seen = new Set<string>()
  for (const [root, steps] of Object.entries(difference.text)) {
    const old = await textOf(room, at, root, signal)
    const runs = writers.runs.filter((run) => run.root === root && run.kind === 'text')
    const deleted = writers.deleted.filter((run) => run.root === root && run.kind === 'text')
    const rows = aligned(pieces(steps, old, runs, deleted))
    if (Object.keys(difference.text).length > 1) paper.append(h('p', { class: 'root' }, visible(root)))
    paper.append(table(rows, authors, seen))
  }
  const others = Object.keys(difference.nodes).filter((name) => !(name in difference.text))
  if (Object.keys(difference.nodes).length === 0) paper.append(h('p', { class: 'soft' }, 'Nothing differs.'))
  else if (others.length > 0 || Object.keys(difference.text).length === 0) {
    paper.append(h('details', {}, h('summary', {}, others.length > 0 ? `What is no text differs, too: ${others.map(visible).join(', ')}` : 'The text is the same; its formatting differs'),
      h('div', { class: 'plain json' }, JSON.stringify(difference.nodes, null, 2).slice(0, 20_000))))
  }
  if (seen.size > 0) {
    paper.prepend(h('p', { class: 'legend' }, h('span', { class: 'soft' }, 'Changed by'), ...[...seen].map((name) => authors.badge(name))))
  }
  return paper
}

/** The text of a root, as the server compares it: each block but the first begins a new line. */
async function textOf (room: string, at: string, root: string, signal: AbortSignal): Promise<string> {
  const path = `${ofRoom(room)}/at`
  const rich = await get<Node_>(path, { at, format: 'prosemirror', field: root }, signal)
  if ((rich.content?.length ?? 0) > 0) return flat(rich)
  const plain = (await get<Record<string, unknown>>(path, { at, format: 'json' }, signal))[root]
  return typeof plain === 'string' && !plain.startsWith('<') ? plain : ''
}

export function flat (root: Node_): string {
  let out = ''
  const walk = (node: Node_): void => {
    for (const [index, child] of (node.content ?? []).entries()) {
      if (child.type === 'text') out += child.text ?? ''
      else {
        if (index > 0 || out !== '') out += '\n'
        walk(child)
      }
    }
  }
  walk(root)
  return out
}

/** The steps with the texts that were kept, and with names: who wrote what came, and who deleted what is gone. */
export function pieces (steps: Step[], old: string, runs: Run[], deleted: Gone[]): Piece[] {
  const before = [...old]
  const found: Piece[] = []
  let place = 0 // in the old text
  let at = 0 // in the new one, without the line feeds between blocks, which nobody wrote
  const push = (text: string, kind: Piece['kind'], author: string | null, by: string | null): void => {
    const last = found.at(-1)
    if (last !== undefined && last.kind === kind && last.author === author && last.by === by) last.text += text
    else if (text !== '') found.push({ text, kind, author, by })
  }
  for (const [index, step] of steps.entries()) {
    if ('keep' in step) {
      const kept = before.slice(place, place + step.keep).join('')
      push(kept, 'keep', null, null)
      place += step.keep
      at += letters(kept)
    } else if ('delete' in step) {
      place += [...step.delete].length
      const next = steps[index + 1]
      const until = at + (next !== undefined && 'insert' in next ? letters(next.insert) : 0)
      for (const [letter, gone] of owned(step.delete, deleted.filter((run) => run.at >= at - 1 && run.at <= until))) {
        push(letter, 'delete', gone?.author ?? null, gone?.deleted_by ?? null)
      }
    } else {
      for (const letter of step.insert) {
        const author = letter === '\n' ? found.at(-1)?.author ?? null : writer(runs, at)
        push(letter, 'insert', author, author)
        if (letter !== '\n') at += 1
      }
    }
  }
  return found
}

/** So many deleted letters at one place are searched through. */
const MOST = 20_000

/**
 * Each letter of a text that is gone, with the run of deleted text that it is from: found as a whole, else word by word,
 * since the server compares words, and people delete letters.
 */
function owned (text: string, near: Gone[]): [string, Gone | null][] {
  const from = near.flatMap((run) => [...run.shown].map((letter): [string, Gone] => [letter, run]))
  const all = from.map(([letter]) => letter)
  if (all.length > MOST) return [...text].map((letter) => [letter, null])
  const place = (wanted: string[], after: number): number => {
    for (let at = after; at + wanted.length <= all.length; at += 1) if (wanted.every((letter, index) => all[at + index] === letter)) return at
    return -1
  }
  const whole = place([...text], 0)
  let after = Math.max(0, whole)
  return (whole >= 0 ? [text] : text.split(/(\s+)/)).flatMap((word) => {
    const found = word === '' ? -1 : place([...word], after)
    if (found >= 0) after = found + [...word].length
    return [...word].map((letter, index): [string, Gone | null] => [letter, found < 0 ? null : from[found + index]![1]])
  })
}

const letters = (text: string): number => [...text].filter((letter) => letter !== '\n').length

function writer (runs: Run[], at: number): string | null {
  let low = 0
  let high = runs.length - 1
  while (low < high) {
    const middle = (low + high + 1) >> 1
    if (runs[middle]!.at <= at) low = middle
    else high = middle - 1
  }
  return runs[low]?.author ?? null
}

/** Lines of the old text beside those of the new one; null where one of them has none. */
export function aligned (all: Piece[]): [Line | null, Line | null][] {
  const left: (Line | null)[] = []
  const right: (Line | null)[] = []
  let one: Line = []
  let other: Line = []
  for (const piece of all) {
    const parts = piece.text.split('\n')
    for (const [index, text] of parts.entries()) {
      if (index > 0) {
        if (piece.kind !== 'insert') { left.push(one); one = [] }
        if (piece.kind !== 'delete') { right.push(other); other = [] }
        if (piece.kind === 'keep') {
          while (left.length < right.length) left.splice(-1, 0, null)
          while (right.length < left.length) right.splice(-1, 0, null)
        }
      }
      if (text === '') continue
      if (piece.kind !== 'insert') one.push({ ...piece, text })
      if (piece.kind !== 'delete') other.push({ ...piece, text })
    }
  }
  left.push(one)
  right.push(other)
  while (left.length < right.length) left.push(null)
  while (right.length < left.length) right.push(null)
  return left.map((line, index) => [line, right[index]!])
}

const AROUND = 2

function table (rows: [Line | null, Line | null][], authors: Authors, seen: Set<string>): HTMLElement {
  const body = h('tbody', {})
  const changed = rows.map(([one, other]) => one === null || other === null || [...one, ...other].some((piece) => piece.kind !== 'keep'))
  let hidden = 0
  const fold = (): void => {
    if (hidden > 0) body.append(h('tr', { class: 'fold' }, h('td', { colspan: 2 }, `${plural(hidden, 'line')} the same`)))
    hidden = 0
  }
  for (const [index, [one, other]] of rows.entries()) {
    if (!changed.slice(Math.max(0, index - AROUND), index + AROUND + 1).includes(true)) {
      hidden += 1
      continue
    }
    fold()
    body.append(h('tr', { class: changed[index] ? 'changed' : 'same' }, cell(one), cell(other)))
  }
  fold()

  function cell (line: Line | null): HTMLElement {
    const element = h('td', { dir: 'auto', class: line === null ? 'nothing' : '' })
    for (const piece of line ?? []) {
      if (piece.kind === 'keep') {
        element.append(piece.text)
        continue
      }
      if (piece.by !== null) seen.add(piece.by)
      const about = piece.kind === 'insert'
        ? `written by ${piece.author ?? 'somebody'}`
        : `${piece.author === null ? '' : `written by ${piece.author}, `}deleted by ${piece.by ?? 'somebody'}`
      element.append(tint(h(piece.kind === 'insert' ? 'ins' : 'del', { title: visible(about) }, piece.text), authors.colour(piece.by)))
    }
    return element
  }
  return h('table', { class: 'sides' }, h('caption', { class: 'unseen' }, 'The text then and now'),
    h('thead', {}, h('tr', {}, h('th', { scope: 'col' }, 'Then'), h('th', { scope: 'col' }, 'Now'))), body)
}
