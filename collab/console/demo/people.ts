import type { Awareness } from 'y-protocols/awareness'
import { COLOURS } from '../shared/colours'
import { stored, store } from '../shared/memory'

export interface User { name: string, color: string }

const FIRST = ['Calm', 'Bright', 'Quiet', 'Brave', 'Kind', 'Swift', 'Merry', 'Wise']
const LAST = ['Otter', 'Heron', 'Lynx', 'Wren', 'Badger', 'Finch', 'Hare', 'Seal']

const any = <T>(list: T[]): T => list[Math.floor(Math.random() * list.length)]!

/** A name that nobody has to think of. */
export const friendly = (): string => `${any(FIRST)} ${any(LAST)}`

/** Others may say anything of themselves. */
export const nameOf = (user: Record<string, unknown> | undefined): string =>
  (typeof user?.name === 'string' ? user.name.trim().slice(0, 40) : '') || 'Somebody'

export function recallUser (): User {
  const known = stored<Partial<User>>('collab-user')
  const user = { name: nameOf({ name: known?.name ?? friendly() }), color: COLOURS.includes(known?.color ?? '') ? known!.color! : any(COLOURS) }
  store('collab-user', user)
  return user
}

export const rememberUser = (user: User): void => store('collab-user', user)

function initials (name: string): string {
  const words = name.split(/\s+/)
  const letters = words.length > 1 ? [words[0]!, words.at(-1)!] : [name]
  return letters.map((word) => [...word][0]!.toUpperCase()).join('')
}

const SHOWN = 5

/**
 * Draw who else is here, before oneself, who is the last of the list and is left alone: what is taken out of the page
 * and put back between pressing and releasing a button is not clicked.
 */
export function drawPeople (list: HTMLElement, awareness: Awareness): void {
  const others = [...awareness.getStates()]
    .filter(([client, state]) => client !== awareness.clientID && state.user)
    .sort(([a], [b]) => a - b)
  const items = others.slice(0, SHOWN).map(([, { user }]) => avatar(nameOf(user), String(user.color)))
  if (others.length > SHOWN) items.push(badge(`+${others.length - SHOWN}`, `${others.length - SHOWN} more`, 'wide'))
  if (others.length > 0) items.push(badge(`+${others.length}`, `${others.length} more`, 'others'))
  while (list.children.length > 1) list.firstElementChild!.remove()
  list.prepend(...items)
}

function avatar (name: string, color: string): HTMLLIElement {
  const item = document.createElement('li')
  const face = document.createElement('span')
  paint(face, name, color)
  face.title = name
  face.role = 'img'
  face.ariaLabel = name
  item.append(face)
  return item
}

function badge (text: string, label: string, kind: string): HTMLLIElement {
  const item = document.createElement('li')
  item.className = kind
  const face = document.createElement('span')
  face.className = 'avatar more'
  face.textContent = text
  face.role = 'img'
  face.ariaLabel = label
  item.append(face)
  return item
}

/** Put a name's initials and a colour on an avatar. */
export function paint (face: HTMLElement, name: string, color: string): void {
  face.className = 'avatar'
  face.dataset.initials = initials(name) // drawn by the style sheet: the label is the whole name
  face.style.backgroundColor = color
}
