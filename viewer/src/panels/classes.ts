import type { VolumeInterval } from '../api/types'
import { intervalText, mlText } from '../logic/numbers'
import type { Segmentation } from '../logic/segmentation'
import type { Store } from '../logic/store'
import type { ViewSettings } from '../logic/view_settings'
import { checkbox, panel, slider } from '../ui/controls'
import { fill, h, swatch } from '../ui/dom'

/** Each class with its colour, volume and the interval around it, on and off; the mask's opacity. */
export function classesPanel(
  settings: Store<ViewSettings>,
  segmentation: Segmentation,
  given: Record<string, number>,
  intervals: Record<string, VolumeInterval>,
): { element: HTMLElement; refresh: () => void } {
  const list = h('ul', { class: 'classes' })
  const toggle = (value: number, on: boolean) => {
    const off = new Set(settings.now.off)
    if (on) off.delete(value)
    else off.add(value)
    settings.set({ off })
  }

  const interval = (name: string) => {
    const found = intervals[name]
    return found ? h('p', { class: 'interval faint' }, `${intervalText(found)} (${Math.round(found.level * 1000) / 10} % interval)`) : null
  }

  const refresh = () => {
    const counted = segmentation.volumes()
    const off = settings.now.off
    const rows = segmentation.labels.map(({ name, value, colour }, index) => {
      // A class that only the truth has is no finding of the model: no volume stands beside it.
      const ml = segmentation.isOfModel(index) ? (given[name] ?? counted[name]) : undefined
      const text = [swatch(colour), h('span', { class: 'class-name' }, name), h('span', { class: 'number' }, ml === undefined ? '' : mlText(ml))]
      // An interval belongs to the volume that the server measured.
      const around = name in given ? interval(name) : null
      return h('li', {}, checkbox(text, !off.has(value), (on) => toggle(value, on)).element, around)
    })
    const known = new Set(segmentation.labels.map(({ name }) => name))
    const regions = Object.entries(given).filter(([name]) => !known.has(name))
    const region = ([name, ml]: [string, number]) =>
      h('li', { class: 'region' }, h('span', { class: 'class-name' }, name), h('span', { class: 'number' }, mlText(ml)), interval(name))
    fill(list, ...rows, ...regions.map(region))
  }

  const opacity = slider('Opacity', settings.now.opacity, (value) => settings.set({ opacity: value }))
  const visible = checkbox('Show the mask', settings.now.visible, (on) => settings.set({ visible: on }))
  const outline = checkbox('Outline only', settings.now.outline, (on) => settings.set({ outline: on }))
  settings.watch(['opacity'], (now) => opacity.put(now.opacity))
  settings.watch(['visible'], (now) => visible.put(now.visible))
  settings.watch(['outline'], (now) => outline.put(now.outline))
  settings.watch(['off'], refresh)

  const all = h('button', { type: 'button', class: 'quiet' }, 'All')
  const none = h('button', { type: 'button', class: 'quiet' }, 'None')
  all.addEventListener('click', () => settings.set({ off: new Set() }))
  none.addEventListener('click', () => settings.set({ off: new Set(segmentation.labels.map(({ value }) => value)) }))
  const many = segmentation.labels.length > 2 ? h('div', { class: 'row' }, all, none) : null
  const element = panel('Classes', list, many, opacity.element, h('div', { class: 'row wrap' }, visible.element, outline.element))
  return { element, refresh }
}
