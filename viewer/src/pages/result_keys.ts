import type { Store } from '../logic/store'
import { LAYOUTS, type Layout } from '../logic/share_link'
import type { ViewSettings } from '../logic/view_settings'
import type { Window } from '../logic/windows'
import type { Scene } from '../scene/scene'
import type { Shortcut } from '../ui/keys'

type Triple = [number, number, number]

/** What the arrows and the page keys move by: screen right, screen up, and into the stack. Right of the screen is the
 * patient's left. */
const STEPS: Record<Exclude<Layout, '3d'>, [Triple, Triple, Triple]> = {
  four: [[-1, 0, 0], [0, 1, 0], [0, 0, 1]],
  axial: [[-1, 0, 0], [0, 1, 0], [0, 0, 1]],
  coronal: [[-1, 0, 0], [0, 0, 1], [0, 1, 0]],
  sagittal: [[0, 1, 0], [0, 0, 1], [1, 0, 0]],
}

const OPACITY_STEP = 0.1

/** The keys of a result's page. */
export function resultKeys(
  scene: Scene,
  settings: Store<ViewSettings>,
  canvas: HTMLElement,
  about: { presets: () => Record<string, Window>; hasTruth: () => boolean; copy: () => void },
): Shortcut[] {
  const now = () => settings.now
  const move = (axis: 0 | 1 | 2, sign: 1 | -1) => () => {
    const { layout } = now()
    if (layout === '3d') {
      if (axis === 0) scene.turnBy(sign, 0)
      else scene.turnBy(0, sign)
      return
    }
    scene.moveBy(STEPS[layout][axis].map((step) => step * sign || 0) as Triple)
  }
  const fade = (by: number) => () =>
    settings.set({ opacity: Math.min(1, Math.max(0, Math.round((now().opacity + by) * 100) / 100)) })
  const stretch = (by: number) => () =>
    settings.set({ preset: '', window: { ...now().window, width: now().window.width * by } })
  const nextPreset = () => {
    const known = about.presets()
    const names = Object.keys(known)
    const next = names[(names.indexOf(now().preset) + 1) % names.length]!
    settings.set({ preset: next, window: known[next]! })
  }
  const layouts: Shortcut[] = LAYOUTS.map((layout, index) => ({
    keys: [String(index + 1)],
    does: 'All, axial, coronal, sagittal, 3D',
    run: () => settings.set({ layout }),
  }))
  return [
    ...layouts,
    { keys: ['ArrowLeft'], does: 'Move the crosshair; in 3D alone, turn', run: move(0, -1), on: canvas },
    { keys: ['ArrowRight'], does: 'Move the crosshair; in 3D alone, turn', run: move(0, 1), on: canvas },
    { keys: ['ArrowUp'], does: 'Move the crosshair; in 3D alone, turn', run: move(1, 1), on: canvas },
    { keys: ['ArrowDown'], does: 'Move the crosshair; in 3D alone, turn', run: move(1, -1), on: canvas },
    { keys: ['PageUp'], does: 'Next slice, slice before', run: move(2, 1), on: canvas },
    { keys: ['PageDown'], does: 'Next slice, slice before', run: move(2, -1), on: canvas },
    { keys: ['Shift ArrowLeft'], does: 'Turn the 3D picture', run: () => scene.turnBy(-1, 0), on: canvas },
    { keys: ['Shift ArrowRight'], does: 'Turn the 3D picture', run: () => scene.turnBy(1, 0), on: canvas },
    { keys: ['Shift ArrowUp'], does: 'Turn the 3D picture', run: () => scene.turnBy(0, 1), on: canvas },
    { keys: ['Shift ArrowDown'], does: 'Turn the 3D picture', run: () => scene.turnBy(0, -1), on: canvas },
    { keys: ['+', '='], does: 'Larger, smaller', run: () => scene.zoomBy(1.2) },
    { keys: ['-'], does: 'Larger, smaller', run: () => scene.zoomBy(1 / 1.2) },
    { keys: ['r'], does: 'Place, turn and size as at first', run: () => scene.resetView() },
    { keys: ['m'], does: 'Mask on and off', run: () => settings.set({ visible: !now().visible }) },
    { keys: ['o'], does: 'Outline or filled', run: () => settings.set({ outline: !now().outline }) },
    { keys: ['['], does: 'Mask fainter, stronger', run: fade(-OPACITY_STEP) },
    { keys: [']'], does: 'Mask fainter, stronger', run: fade(OPACITY_STEP) },
    { keys: ['w'], does: 'Next window preset', run: nextPreset },
    { keys: [','], does: 'Window narrower, wider', run: stretch(1 / 1.1) },
    { keys: ['.'], does: 'Window narrower, wider', run: stretch(1.1) },
    { keys: ['u'], does: 'Uncertainty on and off', run: () => settings.set({ uncertainty: !now().uncertainty }) },
    {
      keys: ['d'],
      does: 'Prediction, truth, difference',
      run: () => {
        if (!about.hasTruth()) return
        const order = ['prediction', 'truth', 'difference'] as const
        settings.set({ shown: order[(order.indexOf(now().shown) + 1) % order.length]! })
      },
    },
    { keys: ['l'], does: 'Copy the link', run: about.copy },
  ]
}
