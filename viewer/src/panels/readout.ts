import { mmText, valueText } from '../logic/numbers'
import type { Cursor } from '../scene/scene'
import { h } from '../ui/dom'

/** Long enough that holding a key does not make a screen reader read every voxel. */
const QUIET_MS = 500

/** >>> cursorText(...) -> 'Right −12.0, anterior 34.5, superior 8.0 mm; value 1043; left atrium' */
export function cursorText(cursor: Cursor, name: string): string {
  const [x, y, z] = cursor.mm.map(mmText)
  const parts = [`Right ${x}, anterior ${y}, superior ${z} mm`, `value ${valueText(cursor.value)}`, name || 'no class']
  if (cursor.uncertainty !== null) parts.push(`uncertainty ${valueText(cursor.uncertainty)}`)
  return parts.join('; ')
}

/** The line under the picture: the crosshair's place, the value there, the class; also its alternative in words. */
export function readout(): { element: HTMLElement; id: string; tell: (cursor: Cursor, name: string, colour: string) => void } {
  const id = 'cursor'
  const place = h('span', { class: 'number' })
  const value = h('span', { class: 'number' })
  const label = h('span', { class: 'readout-class' })
  const seen = h('p', { class: 'readout', 'aria-hidden': 'true' }, place, value, label)
  const words = h('p', { id, class: 'visually-hidden', role: 'status' })
  let waiting: number | undefined
  const tell = (cursor: Cursor, name: string, colour: string) => {
    const [x, y, z] = cursor.mm.map(mmText)
    place.textContent = `R ${x}\u2002A ${y}\u2002S ${z} mm`
    value.textContent = valueText(cursor.value)
    label.textContent = name || 'no class'
    label.style.setProperty('--class', colour || 'transparent')
    window.clearTimeout(waiting)
    waiting = window.setTimeout(() => (words.textContent = cursorText(cursor, name)), QUIET_MS)
  }
  return { element: h('div', { class: 'readout-line' }, seen, words), id, tell }
}
