type Child = Node | string | null | undefined | false

type Attributes = Record<string, string | number | boolean | null | undefined | ((event: never) => void)>

/**
 * An element. Attributes whose name begins with "on" are listeners; true sets an empty attribute, false and null none.
 * Text is only ever set as text, so that no name from a file can become markup.
 */
export function h<K extends keyof HTMLElementTagNameMap>(
  tag: K,
  attributes: Attributes = {},
  ...children: Child[]
): HTMLElementTagNameMap[K] {
  const element = document.createElement(tag)
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === 'function') element.addEventListener(name.slice(2), value as (event: Event) => void)
    else if (value === true) element.setAttribute(name, '')
    else if (value !== false && value !== null && value !== undefined) element.setAttribute(name, String(value))
  }
  element.append(...present(children))
  return element
}

/** Puts these children in the place of all there were. */
export function fill(parent: Element, ...children: Child[]): void {
  parent.replaceChildren(...present(children))
}

function present(children: Child[]): (Node | string)[] {
  return children.filter((child): child is Node | string => child !== null && child !== undefined && child !== false)
}

let last = 0

/** An id that no other element has, for labels and descriptions. */
export function freshId(stem: string): string {
  last += 1
  return `${stem}-${last}`
}

const SVG = 'http://www.w3.org/2000/svg'

const ICONS = {
  upload: 'M12 15V4m0 0L7.5 8.5M12 4l4.5 4.5M4 15v3.5A1.5 1.5 0 0 0 5.5 20h13a1.5 1.5 0 0 0 1.5-1.5V15',
  download: 'M12 4v11m0 0 4.5-4.5M12 15l-4.5-4.5M4 15v3.5A1.5 1.5 0 0 0 5.5 20h13a1.5 1.5 0 0 0 1.5-1.5V15',
  link: 'M10 14a4 4 0 0 0 5.7 0l3-3A4 4 0 0 0 13 5.3l-1 1m2 3.7a4 4 0 0 0-5.7 0l-3 3A4 4 0 0 0 11 18.7l1-1',
  moon: 'M20 14.5A8.5 8.5 0 0 1 9.5 4 8.5 8.5 0 1 0 20 14.5Z',
  sun: 'M12 8a4 4 0 1 0 0 8 4 4 0 0 0 0-8Zm0-5v2m0 14v2M3 12h2m14 0h2M5.6 5.6 7 7m10 10 1.4 1.4M5.6 18.4 7 17M17 7l1.4-1.4',
  help: 'M9.2 9a2.8 2.8 0 1 1 4.3 2.4c-.9.6-1.5 1.2-1.5 2.4M12 17v.1M12 3a9 9 0 1 0 0 18 9 9 0 0 0 0-18Z',
  close: 'M6 6l12 12M18 6 6 18',
  reset: 'M4 5v5h5M4.6 10A8 8 0 1 1 4 13.5',
  list: 'M8 6h12M8 12h12M8 18h12M4 6h.1M4 12h.1M4 18h.1',
  warning: 'M12 9v4.5m0 3v.1M10.6 4.2 2.9 17.6A1.6 1.6 0 0 0 4.3 20h15.4a1.6 1.6 0 0 0 1.4-2.4L13.4 4.2a1.6 1.6 0 0 0-2.8 0Z',
  check: 'M5 12.5 10 17.5 19.5 7',
} as const

export type Icon = keyof typeof ICONS

/** A drawing beside words; screen readers pass over it. */
export function icon(name: Icon): SVGSVGElement {
  const svg = document.createElementNS(SVG, 'svg')
  svg.setAttribute('viewBox', '0 0 24 24')
  svg.setAttribute('aria-hidden', 'true')
  svg.classList.add('icon')
  const path = document.createElementNS(SVG, 'path')
  path.setAttribute('d', ICONS[name])
  svg.append(path)
  return svg
}

/** A square in a class's colour. */
export function swatch(colour: string): HTMLSpanElement {
  const square = h('span', { class: 'swatch', 'aria-hidden': 'true' })
  square.style.backgroundColor = /^#[0-9a-f]{6}$/i.test(colour) ? colour : '#a0a0a0'
  return square
}
