import { COLOURS } from '../shared/colours'
import { h, tint } from './dom'
import { visible } from './format'

/** The colours of those who wrote in one room: each their own, as long as there are enough, in the order they came. */
export class Authors {
  private readonly order: string[] = []

  meet (name: string | null): void {
    if (name !== null && !this.order.includes(name)) this.order.push(name)
  }

  colour (name: string | null): string | undefined {
    if (name === null) return undefined
    this.meet(name)
    return COLOURS[(this.order.indexOf(name) * 3 + 4) % COLOURS.length]
  }

  /** A name with its colour beside it. */
  badge (name: string | null): HTMLElement {
    return tint(h('span', { class: name === null ? 'author unknown' : 'author' }, name === null ? 'not known' : visible(name)), this.colour(name))
  }
}
