import { valueText } from '../logic/numbers'
import type { Store } from '../logic/store'
import type { ViewSettings } from '../logic/view_settings'
import { checkbox, panel, slider } from '../ui/controls'
import { h } from '../ui/dom'

/** The map of uncertainty, on and off, and how strong. `highest` is told once it is read. */
export function uncertaintyPanel(
  settings: Store<ViewSettings>,
): { element: HTMLElement; highest: (value: number) => void } {
  const shown = checkbox('Show the map', settings.now.uncertainty, (on) => settings.set({ uncertainty: on }))
  const opacity = slider('Opacity', settings.now.uncertaintyOpacity, (value) => settings.set({ uncertaintyOpacity: value }))
  const high = h('span', { class: 'number' }, '')
  const legend = h('div', { class: 'scale', hidden: true }, h('span', { class: 'number' }, '0'), h('span', { class: 'ramp', 'aria-hidden': 'true' }), high)
  settings.watch(['uncertainty', 'uncertaintyOpacity'], (now) => {
    shown.put(now.uncertainty)
    opacity.put(now.uncertaintyOpacity)
    opacity.element.hidden = !now.uncertainty
    legend.hidden = !now.uncertainty
  })
  return {
    element: panel('Uncertainty', shown.element, opacity.element, legend),
    highest: (value) => (high.textContent = valueText(value)),
  }
}
