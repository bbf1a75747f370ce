import type { Store } from '../logic/store'
import type { ViewSettings } from '../logic/view_settings'
import { CT_WINDOWS, PERCENTILE_WINDOWS, type Window } from '../logic/windows'
import { panel, select } from '../ui/controls'
import { freshId, h } from '../ui/dom'

const BY_HAND = ''

/** Presets and two numbers. `known` holds each preset's window for this scan; CT's come first where it is a CT. */
export function windowPanel(settings: Store<ViewSettings>, known: Record<string, Window>, ct: boolean): HTMLElement {
  const group = (names: object) => Object.keys(names).map((name) => [name, name] as [string, string])
  const groups: [string, [string, string][]][] = [
    ['CT, in HU', group(CT_WINDOWS)],
    ['By share of voxels', group(PERCENTILE_WINDOWS)],
  ]
  const preset = select(
    'Preset',
    [...(ct ? groups : groups.reverse()), ['', [[BY_HAND, 'by hand']]]],
    settings.now.preset,
    (name) => known[name] && settings.set({ preset: name, window: known[name] }),
  )
  const level = numberField('Level', (value) => settings.set({ preset: BY_HAND, window: { ...settings.now.window, level: value } }))
  const width = numberField('Width', (value) => {
    if (value > 0) settings.set({ preset: BY_HAND, window: { ...settings.now.window, width: value } })
  })
  width.input.min = '0'
  settings.watch(['window', 'preset'], (now) => {
    preset.put(now.preset)
    level.put(now.window.level)
    width.put(now.window.width)
  })
  return panel('Window', preset.element, h('div', { class: 'pair' }, level.element, width.element))
}

function numberField(text: string, change: (value: number) => void) {
  const id = freshId('number')
  const input = h('input', { type: 'number', id, step: 'any', inputmode: 'decimal' })
  input.addEventListener('change', () => {
    if (input.value.trim() && Number.isFinite(input.valueAsNumber)) change(input.valueAsNumber)
  })
  const put = (value: number) => (input.value = String(Number(value.toPrecision(5))))
  return { element: h('div', { class: 'field' }, h('label', { for: id }, text), input), input, put }
}
