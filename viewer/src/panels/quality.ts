import type { Study } from '../logic/study'
import { panel } from '../ui/controls'
import { h, icon } from '../ui/dom'

const VERDICTS = {
  pass: { text: 'No warning', icon: 'check', name: 'good' },
  review: { text: 'Needs review', icon: 'warning', name: 'review' },
} as const

/** The quality flag, its reason, and the Dice to expect of each class; null where the server gives none of them. */
export function qualityPanel({ quality, notes }: Study): HTMLElement | null {
  const { verdict, reason, expected_dice: expected } = quality
  if (!verdict && !reason && !expected && notes.length === 0) return null
  const known = verdict && VERDICTS[verdict]
  const rows = Object.entries(expected ?? {}).map(([name, { value, low, high }]) =>
    h(
      'tr',
      {},
      h('th', { scope: 'row' }, name),
      h('td', { class: 'number' }, value.toFixed(2)),
      h('td', { class: 'number faint' }, `${low.toFixed(2)} to ${high.toFixed(2)}`),
    ),
  )
  return panel(
    'Quality',
    known && h('p', { class: `verdict ${known.name}` }, icon(known.icon), known.text),
    reason ? h('p', {}, reason) : null,
    rows.length
      ? h(
          'table',
          { class: 'figures' },
          h('thead', {}, h('tr', {}, ...['Class', 'Expected Dice', 'Interval'].map((text) => h('th', { scope: 'col' }, text)))),
          h('tbody', {}, ...rows),
        )
      : null,
    ...notes.map((note) => h('p', { class: 'faint' }, note)),
  )
}
