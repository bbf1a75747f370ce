import { encodeShared } from '../logic/share_link'
import { classesPanel } from '../panels/classes'
import { comparePanel } from '../panels/compare'
import { downloadsPanel } from '../panels/downloads'
import { qualityPanel } from '../panels/quality'
import { uncertaintyPanel } from '../panels/uncertainty'
import { windowPanel } from '../panels/window'
import { panel, select } from '../ui/controls'
import { attempt } from '../ui/messages'
import type { ResultPage } from './result'

/** One picture of a scan that has several. */
export interface Channel {
  name: string
  show: () => Promise<void>
}

/** The side panel of a result: a part for each thing that it has. `prediction` is the mask that is shown. */
export function resultPanels(page: ResultPage, prediction?: string): Node[] {
  const { study, settings, segmentation } = page
  const parts: (Node | null)[] = [qualityPanel(study), choices(page, prediction)]
  if (segmentation) {
    const shown = study.masks.find(({ name }) => name === prediction) ?? study.masks[0]!
    const classes = classesPanel(settings, segmentation, shown.volumes_ml, shown.intervals)
    const compare = comparePanel(settings, segmentation, (file) => page.compareWith(file))
    page.compareWith = async (file) => {
      await page.takeTruth(file)
      classes.refresh()
      compare.refresh()
      // Drawn anew also where a difference was shown before.
      settings.set({ shown: 'prediction' })
      settings.set({ shown: 'difference' })
    }
    parts.push(classes.element)
    if (study.uncertainty) {
      const uncertainty = uncertaintyPanel(settings)
      page.onUncertainty = uncertainty.highest
      if (page.scene.highestUncertainty !== null) uncertainty.highest(page.scene.highestUncertainty)
      parts.push(uncertainty.element)
    }
    parts.push(windowPanel(settings, page.windows, page.ct), compare.element)
  } else {
    parts.push(windowPanel(settings, page.windows, page.ct))
  }
  parts.push(downloadsPanel(study, page.client))
  return parts.filter((part): part is Node => part !== null)
}

/** What can be told and taken where no picture can be drawn. */
export function wordPanels({ study, client }: ResultPage): Node[] {
  return [qualityPanel(study), downloadsPanel(study, client)].filter((part) => part !== null)
}

/** Which case, channel and mask, where there are several. */
function choices(page: ResultPage, prediction?: string): HTMLElement | null {
  const { study } = page
  const pairs = (names: string[]) => names.map((name) => [name, name] as [string, string])
  const fields: HTMLElement[] = []
  if (study.cases.length > 1) {
    const open = (name: string) => {
      location.hash = encodeShared({ job: study.job, case: name })
    }
    fields.push(select('Case', [['', pairs(study.cases)]], study.case, open).element)
  }
  if (page.channels.length > 1) {
    const channels = page.channels.map(({ name }) => name)
    const show = (name: string) => void attempt(() => page.channels[channels.indexOf(name)]!.show())
    fields.push(select('Channel', [['', pairs(channels)]], channels[0]!, show).element)
  }
  const masks = study.masks.filter(({ role }) => role === 'prediction').map(({ name }) => name)
  if (masks.length > 1) {
    const show = (name: string) => void attempt(() => page.showPrediction(name))
    fields.push(select('Mask', [['', pairs(masks)]], prediction ?? masks[0]!, show).element)
  }
  return fields.length ? panel('Shown', ...fields) : null
}
