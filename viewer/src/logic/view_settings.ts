import type { Shown } from './segmentation'
import type { Layout, Shared } from './share_link'
import type { Window } from './windows'

/** How a result is looked at. */
export interface ViewSettings {
  layout: Layout
  window: Window
  /** Name of the preset that the window is of, or '' */
  preset: string
  /** 0..1, of the mask. */
  opacity: number
  visible: boolean
  outline: boolean
  off: ReadonlySet<number>
  shown: Shown
  /** The value of the one class that is compared; null for all. */
  compared: number | null
  uncertainty: boolean
  uncertaintyOpacity: number
  at: [number, number, number] | null
  turn: [number, number] | null
}

export const FIRST_SETTINGS: ViewSettings = {
  layout: 'four',
  window: { level: 50, width: 400 },
  preset: '',
  opacity: 0.6,
  visible: true,
  outline: false,
  off: new Set(),
  shown: 'prediction',
  compared: null,
  uncertainty: false,
  uncertaintyOpacity: 0.7,
  at: null,
  turn: null,
}

/** What a link gave, over the first settings. The window is set once the scan is read. */
export function settingsOf(shared: Shared): ViewSettings {
  return {
    ...FIRST_SETTINGS,
    ...(shared.layout && { layout: shared.layout }),
    ...(shared.window && { window: shared.window }),
    ...(shared.opacity !== undefined && { opacity: shared.opacity }),
    ...(shared.off && { off: new Set(shared.off) }),
    ...(shared.at && { at: shared.at }),
    ...(shared.turn && { turn: shared.turn }),
    uncertainty: shared.uncertainty ?? false,
  }
}

/** The reverse. */
export function sharedOf(settings: ViewSettings, job: string, study: string): Shared {
  return {
    ...(job ? { job } : { view: true }),
    ...(job && study && { case: study }),
    ...(settings.at && { at: settings.at }),
    window: settings.window,
    layout: settings.layout,
    opacity: settings.opacity,
    ...(settings.off.size > 0 && { off: [...settings.off].sort((one, other) => one - other) }),
    uncertainty: settings.uncertainty,
    ...(settings.turn && { turn: settings.turn }),
  }
}
