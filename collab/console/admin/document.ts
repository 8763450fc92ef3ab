import { get, ofRoom } from './api'
import { h } from './dom'
import { count, visible } from './format'
import type { Node_ } from './types'

/** What stands in a room at a moment: the text with its formatting, and what else there is. */
export interface Content { rich: Node_, roots: Record<string, unknown> }

export async function read (room: string, at: string, signal: AbortSignal): Promise<Content> {
  const [rich, roots] = await Promise.all([
    get<Node_>(`${ofRoom(room)}/at`, { at, format: 'prosemirror' }, signal),
    get<Record<string, unknown>>(`${ofRoom(room)}/at`, { at, format: 'json' }, signal)
  ])
  return { rich, roots }
}

/** So much of a document is shown: a browser takes long for more, and a preview needs no more. */
const MOST = 4000

const BLOCKS: Record<string, keyof HTMLElementTagNameMap> = {
  paragraph: 'p', blockquote: 'blockquote', bulletList: 'ul', bullet_list: 'ul', orderedList: 'ol', ordered_list: 'ol',
  listItem: 'li', list_item: 'li', taskList: 'ul', codeBlock: 'pre', code_block: 'pre', table: 'table', tableRow: 'tr', tableCell: 'td',
  tableHeader: 'td'
}
const MARKS: Record<string, keyof HTMLElementTagNameMap> = {
  bold: 'strong', strong: 'strong', italic: 'em', em: 'em', underline: 'u', strike: 's', code: 'code', highlight: 'mark', subscript: 'sub', superscript: 'sup'
}

/** It is made of elements and texts alone: whatever somebody wrote, nothing of it is markup, loads, or leads away. */
export function draw (content: Content): HTMLElement {
  const paper = h('div', { class: 'text', dir: 'auto' })
  let left = MOST
  const put = (parent: HTMLElement, nodes: Node_[] | undefined): void => {
    for (const node of nodes ?? []) {
      if (left-- <= 0) return
      parent.append(node.type === 'text' ? words(node) : block(node))
    }
  }
  const block = (node: Node_): HTMLElement => {
    const { type, attrs = {} } = node
    if (type === 'hardBreak' || type === 'hard_break') return h('br')
    if (type === 'horizontalRule' || type === 'horizontal_rule') return h('hr')
    if (type === 'heading') {
      // Headings of the document are none of this page's.
      const level = Math.min(Math.max(Number(attrs.level) || 1, 1), 6)
      const heading = h('p', { class: `heading level-${level}` })
      put(heading, node.content)
      return heading
    }
    if (type === 'taskItem') {
      const body = h('div', {})
      put(body, node.content)
      return h('li', { class: 'task' }, h('span', { role: 'img', 'aria-label': attrs.checked === true ? 'done' : 'to do' }, attrs.checked === true ? '☑' : '☐'), body)
    }
    if (type === 'mention') return h('span', { class: 'thing' }, `@${visible(String(attrs.label ?? attrs.id ?? ''))}`)
    const tag = BLOCKS[type]
    if (tag === undefined) {
      const thing = h('div', { class: 'thing' }, visible(`${type} ${String(attrs.alt ?? attrs.title ?? attrs.src ?? '')}`.trim().slice(0, 200)))
      put(thing, node.content)
      return thing
    }
    const element = h(tag, { dir: tag === 'p' ? 'auto' : null })
    put(element, node.content)
    if (tag === 'p' && element.childNodes.length === 0) element.append(h('br'))
    return element
  }
  put(paper, content.rich.content)
  const taken = (content.rich.content?.length ?? 0) > 0 ? shownRoot(content.roots) : null
  for (const [name, value] of Object.entries(content.roots)) {
    if (name === taken || value === '') continue
    const alone = taken === null && Object.keys(content.roots).length === 1
    if (!alone) paper.append(h('p', { class: 'root' }, visible(name)))
    const text = typeof value === 'string' ? value : JSON.stringify(value, null, 2)
    paper.append(h('div', { class: typeof value === 'string' ? 'plain' : 'plain json', dir: 'auto' }, text.slice(0, 100_000)))
    if (text.length > 100_000) left = -1
  }
  if (paper.childNodes.length === 0) paper.append(h('p', { class: 'soft' }, 'Nothing stands here.'))
  if (left < 0) paper.append(h('p', { class: 'soft' }, `This is the beginning; the rest is left out here (it has more than ${count(MOST)} parts or 100,000 characters).`))
  return paper
}

function words (node: Node_): Node {
  let found: Node = document.createTextNode(node.text ?? '')
  for (const mark of node.marks ?? []) {
    const tag = MARKS[mark.type] ?? 'span'
    found = h(tag, mark.type === 'link' ? { class: 'link', title: String(mark.attrs?.href ?? '') } : {}, found)
  }
  return found
}

/** The root that is shown with its formatting: as the server chooses it. */
export function shownRoot (roots: Record<string, unknown>): string | null {
  const xml = ([, value]: [string, unknown]): boolean => typeof value === 'string' && value.startsWith('<')
  const found = Object.entries(roots).filter(xml).map(([name]) => name).sort()
  return ['default', 'prosemirror'].find((name) => found.includes(name)) ?? found[0] ?? null
}
