/** Drawn on a grid of 20, with a line of 1.6. */
const PATHS = {
  undo: 'M7.5 5 4 8.5 7.5 12M4.5 8.5H12a4 4 0 0 1 0 8H9',
  redo: 'M12.5 5 16 8.5 12.5 12M15.5 8.5H8a4 4 0 0 0 0 8h3',
  h1: 'M3.5 5v10M10 5v10M3.5 10H10M14 8.2l2.2-1.7V15',
  h2: 'M3 5v10M9 5v10M3 10h6M12.3 8.6c.2-1.5 1.1-2.2 2.3-2.2 1.3 0 2.2.8 2.2 2 0 2-4.6 3.3-4.6 6.6h4.8',
  bold: 'M6 4.5h4.6a2.7 2.7 0 0 1 0 5.4H6zM6 9.9h5.2a2.8 2.8 0 0 1 0 5.6H6z',
  italic: 'M8.5 4.5h6M5.5 15.5h6M11.7 4.5l-3.4 11',
  underline: 'M6 4v5.5a4 4 0 0 0 8 0V4M5 16.5h10',
  strike: 'M14 6.2c-.7-1-2-1.7-3.8-1.7-2.3 0-3.9 1.1-3.9 2.8 0 1.1.7 1.9 2 2.4M3.5 10h13M13.2 12c.4.4.6 1 .6 1.5 0 1.3-1.4 2.2-3.7 2.2-2 0-3.4-.8-4.1-2',
  code: 'M7 6 3 10l4 4M13 6l4 4-4 4',
  link: 'M8.6 11.4a3 3 0 0 0 4.3 0l2.6-2.6a3 3 0 0 0-4.3-4.3l-1 1M11.4 8.6a3 3 0 0 0-4.3 0l-2.6 2.6a3 3 0 0 0 4.3 4.3l1-1',
  bullets: 'M8 5.5h8.5M8 10h8.5M8 14.5h8.5M4 5.5h.01M4 10h.01M4 14.5h.01',
  numbers: 'M9 5.5h7.5M9 10h7.5M9 14.5h7.5M3.2 4.3l1.3-.8v4M3.3 12.3c.3-.6.8-.8 1.3-.8.7 0 1.2.4 1.2 1.1 0 1-2.5 1.6-2.5 3.2h2.6',
  tasks: 'M3 5.3l1.2 1.2L6.5 4M3 13.3l1.2 1.2 2.3-2.5M9.5 5.5h7M9.5 13.5h7',
  quote: 'M4 5v10M8 6.5h8.5M8 10h8.5M8 13.5h5.5',
  block: 'M4.5 3.5h11a1.5 1.5 0 0 1 1.5 1.5v10a1.5 1.5 0 0 1-1.5 1.5h-11A1.5 1.5 0 0 1 3 15V5a1.5 1.5 0 0 1 1.5-1.5zM8.5 7.5 6 10l2.5 2.5M11.5 7.5 14 10l-2.5 2.5',
  rule: 'M3 10h14',
  share: 'M8.5 4.5h-3A1.5 1.5 0 0 0 4 6v9a1.5 1.5 0 0 0 1.5 1.5h9A1.5 1.5 0 0 0 16 15v-3M11.5 3.5h5v5M16.2 3.8 9.5 10.5',
  done: 'M4 10.5 8 14.5 16 6',
  sun: 'M10 6.5a3.5 3.5 0 1 1 0 7 3.5 3.5 0 0 1 0-7zM10 2v1.5M10 16.5V18M2 10h1.5M16.5 10H18M4.3 4.3l1.1 1.1M14.6 14.6l1.1 1.1M4.3 15.7l1.1-1.1M14.6 5.4l1.1-1.1',
  moon: 'M16.5 11.8A7 7 0 0 1 8.2 3.5a7 7 0 1 0 8.3 8.3z'
}

export type IconName = keyof typeof PATHS

const SVG = 'http://www.w3.org/2000/svg'

export function icon (name: IconName): SVGSVGElement {
  const svg = document.createElementNS(SVG, 'svg')
  const attributes = {
    viewBox: '0 0 20 20', fill: 'none', stroke: 'currentColor', 'stroke-width': '1.6', 'stroke-linecap': 'round', 'stroke-linejoin': 'round', 'aria-hidden': 'true'
  }
  for (const [key, value] of Object.entries(attributes)) svg.setAttribute(key, value)
  const path = document.createElementNS(SVG, 'path')
  path.setAttribute('d', PATHS[name])
  svg.append(path)
  return svg
}
