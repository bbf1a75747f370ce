import type { WebModel } from './model'
import { product } from './numbers'
import { spacingOf, type Triple } from './place'
import type { Scan } from './prepare'

/** A volume so many times as long or short as those of training, in the mean of its axes, is hardly one of their kind. */
const SIZES = 10

/**
 * Why a scan is to be reviewed whatever the networks make of it, or ''; `vesal.infer.scan_notes`.
 *
 * `prepared` is the shape of the scan on the grid of the plan.
 */
export function scanNote(scan: Scan, model: WebModel, prepared: Triple): string {
  const { channels } = model.plan
  const flat = channels.filter((_, number) => scan.channels[number]!.every((value, _at, all) => value === all[0]))
  const reasons: string[] = []
  if (flat.length === channels.length) reasons.push(`the scan holds one value throughout (${short(scan.channels[0]![0]!)})`)
  else if (flat.length) reasons.push(`channel ${flat.join(', ')} holds one value throughout`)
  return [...reasons, sizeNote(scan, model, prepared)].filter(Boolean).join('; ')
}

/** Of two stages the fine one sees a box: its size tells nothing of the scan's. */
function sizeNote({ affine, shape }: Scan, { plan, usual_shape: usual, locator }: WebModel, prepared: Triple): string {
  if (locator) return ''
  const ratio = product(prepared.slice(-plan.dimension)) / product(usual)
  const mean = ratio ** (1 / plan.dimension)
  if (1 / SIZES < mean && mean < SIZES) return ''
  const spacing = spacingOf(affine)
  const mm = (sizes: number[], steps: number[]) => sizes.map((size, axis) => short(size * steps[axis]!)).join(' x ')
  return (
    `the scan measures ${mm(shape, spacing)} mm and those of training ${mm(usual, plan.spacing_mm)} mm, ` +
    `so its spacing (${spacing.map(short).join(' x ')} mm) may be wrong`
  )
}

/** Three digits of what is not whole. */
function short(value: number): string {
  return String(Number.isInteger(value) ? value : Number(value.toPrecision(3)))
}
