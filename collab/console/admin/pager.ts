import { h } from './dom'

/** The way through a list that the API gives in pages: where it stands, and two buttons. */
export class Pager {
  readonly element: HTMLElement
  private cursors: (string | undefined)[] = [undefined]
  private next: string | null = null
  private readonly back: HTMLButtonElement
  private readonly forth: HTMLButtonElement

  /** `turned` is called when another page is wanted. */
  constructor (turned: () => void) {
    this.back = h('button', { type: 'button', class: 'quiet', onclick: () => { this.cursors.pop(); turned() } }, 'Previous')
    this.forth = h('button', { type: 'button', class: 'quiet', onclick: () => { this.cursors.push(this.next ?? undefined); turned() } }, 'Next')
    this.element = h('nav', { class: 'pager', 'aria-label': 'Pages', hidden: true }, this.back, this.forth)
  }

  /** What to ask for. */
  get cursor (): string | undefined { return this.cursors.at(-1) }

  /** How many pages come before this one. */
  get before (): number { return this.cursors.length - 1 }

  /** Whether this page is all there is. */
  get only (): boolean { return this.before === 0 && this.next === null }

  /** Go back to the first page; nobody is told. */
  first (): void { this.cursors = [undefined] }

  /** The page came, and this is what follows it. */
  came (next: string | null): void {
    this.next = next
    this.element.hidden = this.only
    this.back.disabled = this.before === 0
    this.forth.disabled = next === null
  }
}
