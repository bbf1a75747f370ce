import { DIFFERENCE_LABELS } from '../logic/difference'
import { mlText } from '../logic/numbers'
import { voxelMl } from '../logic/grid'
import type { Segmentation, Shown } from '../logic/segmentation'
import type { Store } from '../logic/store'
import type { ViewSettings } from '../logic/view_settings'
import { choice, fileButton, panel, select } from '../ui/controls'
import { fill, h, icon, swatch } from '../ui/dom'
import { attempt } from '../ui/messages'

const ALL = 'all'

/** A place for the truth, and, once it is there, what differs. `take` reads a file as the truth. */
export function comparePanel(
  settings: Store<ViewSettings>,
  segmentation: Segmentation,
  take: (file: File) => Promise<void>,
): { element: HTMLElement; refresh: () => void } {
  const body = h('div', { class: 'stack' })
  const give = (file: File | undefined) => file && void attempt(() => take(file))
  const pick = (text: string) =>
    fileButton([icon('upload'), text], { className: 'secondary' }, (files) => give(files[0]))
  const element = panel('Truth', body)

  const refresh = () => {
    if (!segmentation.hasBoth) {
      fill(
        body,
        h('p', { class: 'faint' }, 'Drop a mask that is known to be right, and see where it differs from the prediction. It stays in this browser.'),
        pick('Choose a truth mask'),
      )
      return
    }
    const options: [Shown, string][] = [
      ['prediction', 'Prediction'],
      ['truth', 'Truth'],
      ['difference', 'Difference'],
    ]
    const shown = choice('Which mask is drawn', options, settings.now.shown, (value) => settings.set({ shown: value }))
    settings.watch(['shown'], (now) => shown.choose(now.shown))
    fill(body, shown.element, differenceLegend(settings, segmentation), diceTable(segmentation), pick('Choose another truth mask'))
  }
  refresh()
  return { element, refresh }
}

/** The three colours, and which class they are about. */
function differenceLegend(settings: Store<ViewSettings>, { labels }: Segmentation): HTMLElement {
  const classes: [string, string][] = [
    [ALL, 'all classes'],
    ...labels.map(({ name, value }) => [String(value), name] as [string, string]),
  ]
  const compared = settings.now.compared
  const which = select('Of', [['', classes]], compared === null ? ALL : String(compared), (key) =>
    settings.set({ compared: key === ALL ? null : Number(key) }),
  )
  const entries = DIFFERENCE_LABELS.map(({ name, colour }) => h('li', {}, swatch(colour), name))
  const element = h('div', { class: 'stack' }, labels.length > 1 && which.element, h('ul', { class: 'legend' }, ...entries))
  settings.watch(['shown', 'compared'], (now) => {
    element.hidden = now.shown !== 'difference'
    // One class alone can be taken for no other.
    entries[3]!.hidden = now.compared !== null || labels.length < 2
  })
  return element
}

function diceTable(segmentation: Segmentation): HTMLElement {
  const ml = voxelMl(segmentation.grid)
  const rows = segmentation.overlaps().map(({ dice, truthVoxels, predictionVoxels }, index) =>
    h(
      'tr',
      {},
      h('th', { scope: 'row' }, segmentation.labels[index]!.name),
      h('td', { class: 'number strong' }, dice === null ? '–' : dice.toFixed(3)),
      h('td', { class: 'number' }, mlText(truthVoxels * ml)),
      h('td', { class: 'number' }, mlText(predictionVoxels * ml)),
    ),
  )
  const head = ['Class', 'Dice', 'Truth', 'Predicted'].map((text) => h('th', { scope: 'col' }, text))
  return h(
    'div',
    { class: 'scroll', tabindex: 0, role: 'region', 'aria-label': 'Dice of each class' },
    h('table', { class: 'figures dice' }, h('thead', {}, h('tr', {}, ...head)), h('tbody', {}, ...rows)),
  )
}
