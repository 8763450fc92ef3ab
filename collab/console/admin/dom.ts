type Child = Node | string | null | undefined | false
type Props = Record<string, unknown>

/** An element: properties that begin with `on` are listeners, all others attributes. Text is never read as markup. */
export function h<K extends keyof HTMLElementTagNameMap> (tag: K, props: Props = {}, ...children: Child[]): HTMLElementTagNameMap[K] {
  const element = document.createElement(tag)
  set(element, props)
  for (const child of children) if (child !== null && child !== undefined && child !== false) element.append(child)
  return element
}

const SVG = 'http://www.w3.org/2000/svg'

/** The same of SVG. */
export function s (tag: string, props: Props = {}, ...children: Node[]): SVGElement {
  const element = document.createElementNS(SVG, tag)
  set(element, props)
  element.append(...children)
  return element
}

function set (element: Element, props: Props): void {
  for (const [name, value] of Object.entries(props)) {
    if (name.startsWith('on')) element.addEventListener(name.slice(2), value as EventListener)
    else if (value === true) element.setAttribute(name, '')
    else if (value !== null && value !== undefined && value !== false) element.setAttribute(name, String(value))
  }
}

/** Somebody's colour, for the style sheet. Attributes for styles are not allowed by the page's policy; this is. */
export function tint<T extends HTMLElement | SVGElement> (element: T, colour: string | undefined): T {
  if (colour !== undefined) element.style.setProperty('--who', colour)
  return element
}

/** Set a text only if it is another one: readers are not told the same twice, and a selection stays. */
export function say (element: Element, text: string): void {
  if (element.textContent !== text) element.textContent = text
}

export interface Line<T> { element: HTMLElement, update: (item: T) => void }

/**
 * The children of a list, one for each item, in order. What is there already is changed and not made anew: a button
 * between being pressed and being released stays the same button, and the focus stays where it is.
 */
export class Lines<T> {
  private readonly lines = new Map<string, Line<T>>()

  constructor (private readonly parent: HTMLElement, private readonly key: (item: T) => string, private readonly make: (item: T) => Line<T>) {}

  draw (items: T[]): void {
    const wanted = new Set(items.map(this.key))
    for (const [key, line] of this.lines) {
      if (!wanted.has(key)) {
        line.element.remove()
        this.lines.delete(key)
      }
    }
    let before: ChildNode | null = this.parent.firstChild
    for (const item of items) {
      const key = this.key(item)
      let line = this.lines.get(key)
      if (line === undefined) this.lines.set(key, line = this.make(item))
      line.update(item)
      if (line.element === before) before = before.nextSibling
      else this.parent.insertBefore(line.element, before)
    }
  }
}

/** Call at once, and then every so many milliseconds while the page can be seen. */
export function every (milliseconds: number, signal: AbortSignal, call: () => Promise<void>): () => void {
  let timer = 0
  let running = false
  let wanted = false
  const go = async (): Promise<void> => {
    clearTimeout(timer)
    wanted = running
    if (signal.aborted || document.hidden || running) return
    running = true
    try {
      await call()
    } finally {
      running = false
      if (!signal.aborted) timer = setTimeout(go, wanted ? 0 : milliseconds)
    }
  }
  document.addEventListener('visibilitychange', go, { signal })
  signal.addEventListener('abort', () => clearTimeout(timer))
  void go()
  return () => void go()
}
