import { componentsOf } from './components'
import { outputsOf, type Plan } from './model'
import { patchInScan } from './prepare'
import { alongScan, atLeast, type Box, boxOf, type Crop, cropShape, type Triple } from './place'

/** Foreground is where its probability is at least this. */
const LIKELY = 0.3
/** A piece counts that holds so much of the largest one's probability. */
const SHARE = 0.1
/** Pieces in a box so many times as large as the largest piece's own lie apart. */
const APART = 3
/** A face in which a result ends with the scan is large from this share of its largest cross-section on. */
const LARGE_FACE = 0.3
/** A result is near a border of the scan within this share of what the labels of the training stay away from it, */
const NEAR = 0.25
/** where these are so many voxels or more. */
const FAR_VOXELS = 4
/** From this ratio of spacings on a grid is anisotropic (nnU-Net). */
const ANISOTROPIC = 3

/** Where to look, null for the whole scan; and why the case is to be reviewed, or ''. */
export interface Found {
  box: Box | null
  concern: string
}

/** Logits (K, *S) -> the probability that a voxel is labelled: of any class, of the likeliest region. */
export function foreground(logits: Float32Array, plan: Plan): Float32Array {
  const outputs = outputsOf(plan)
  const size = logits.length / outputs
  return Float32Array.from({ length: size }, (_, at) => {
    let highest = -Infinity
    for (let output = 0; output < outputs; output++) highest = Math.max(highest, logits[output * size + at]!)
    if (plan.labels.regions.length) return 1 / (1 + Math.exp(-highest))
    let sum = 0
    for (let output = 0; output < outputs; output++) sum += Math.exp(logits[output * size + at]! - highest)
    return 1 - Math.exp(logits[at]! - highest) / sum
  })
}

/** The box around what is likely foreground, and a margin. */
export function findPlace(probability: Float32Array, crop: Crop, marginMm: number): Found {
  const { numbers, sizes } = componentsOf(probability.map((value) => Number(value >= LIKELY)), crop.shape, true)
  if (sizes.length === 1) return { box: null, concern: 'the coarse network found nothing, so the whole scan was searched' }
  const weights = sizes.map(() => 0)
  numbers.forEach((number, at) => (weights[number]! += number ? probability[at]! : 0))
  const most = weights.reduce((one, other) => Math.max(one, other), 0)
  const largest = weights.indexOf(most)
  const kept = weights.map((weight, number) => number > 0 && weight >= SHARE * most)
  const own = boxOf(numbers.map((number) => Number(number === largest)), crop.shape)!
  const box = boxOf(numbers.map((number) => Number(kept[number])), crop.shape)!
  const count = kept.filter(Boolean).length
  const apart = count > 1 && voxels(box) > APART * voxels(own)
  return { box: inScan(box, crop, marginMm), concern: apart ? `the coarse network found ${count} places that lie apart` : '' }
}

/** The box of what was found and a margin; null where the crop's box is that already, or nothing was found. */
export function recentred(mask: ArrayLike<number>, crop: Crop, plan: Plan): Box | null {
  const found = boxOf(mask, cropShape(crop))
  if (!found) return null
  const [low, high] = found.map((corner) => alongScan(corner, crop.sliceAxis)) as Box
  const shape = turnedShape(crop)
  const margins = crop.spacing.map((step) => Math.ceil(plan.margin_mm / step))
  const start = low.map((value, axis) => Math.max(0, crop.start[axis]! + value - margins[axis]!)) as Triple
  const stop = high.map((value, axis) => Math.min(shape[axis]!, crop.start[axis]! + value + margins[axis]!)) as Triple
  const box = atLeast([start, stop], [[0, 0, 0], shape], patchInScan(plan, crop))
  const far = margins.some((margin, axis) => {
    const moved = Math.max(Math.abs(box[0][axis]! - crop.start[axis]!), Math.abs(box[1][axis]! - crop.stop[axis]!))
    return moved > margin / 2
  })
  return far ? box : null
}

/** Whether what was found in a crop ends at a border of its box that lies within the scan. */
export function reachesBorder(mask: Uint8Array, crop: Crop): boolean {
  const shape = turnedShape(crop)
  return facesOf(mask, crop).some(
    ([low, high], axis) => (crop.start[axis]! > 0 && low > 0) || (crop.stop[axis]! < shape[axis]! && high > 0),
  )
}

/** Whether what was found ends with the scan in a large flat face; thick slices end in one by themselves. */
export function cutByScan(mask: Uint8Array, crop: Crop): boolean {
  const shape = turnedShape(crop)
  const thin = Math.min(...crop.spacing)
  return facesOf(mask, crop).some(
    ([low, high], axis) =>
      crop.spacing[axis]! <= ANISOTROPIC * thin &&
      ((crop.start[axis] === 0 && low > LARGE_FACE) || (crop.stop[axis] === shape[axis] && high > LARGE_FACE)),
  )
}

/** Whether what was found comes much nearer to a border of the scan than the labels of the training ever do. */
export function nearerThanLabels(mask: ArrayLike<number>, crop: Crop, gaps: readonly number[] | null): boolean {
  const found = boxOf(mask, cropShape(crop))
  if (!found || gaps?.length !== 6) return false
  const [low, high] = found.map((corner) => alongScan(corner, crop.sliceAxis)) as Box
  const shape = turnedShape(crop)
  return crop.spacing.some((step, axis) => {
    const near = (voxels: number, least: number) => least >= FAR_VOXELS * step && voxels * step < NEAR * least
    const start = crop.start[axis]!
    return near(start + low[axis]!, gaps[2 * axis]!) || near(shape[axis]! - start - high[axis]!, gaps[2 * axis + 1]!)
  })
}

/** Of each axis of the turned scan what the first and the last plane hold, as shares of the plane that holds most. */
function facesOf(mask: Uint8Array, crop: Crop): [number, number][] {
  const shape = cropShape(crop)
  const lines = shape.map((size) => new Float64Array(size))
  let at = 0
  for (let i = 0; i < shape[0]; i++) {
    for (let j = 0; j < shape[1]; j++) {
      for (let k = 0; k < shape[2]; k++) {
        if (!mask[at++]) continue
        lines[0]![i]!++
        lines[1]![j]!++
        lines[2]![k]!++
      }
    }
  }
  return alongScan(lines as [Float64Array, Float64Array, Float64Array], crop.sliceAxis).map((line) => {
    const most = line.reduce((one, other) => Math.max(one, other), 1)
    return [line[0]! / most, line[line.length - 1]! / most]
  })
}

function voxels([start, stop]: Box): number {
  return start.reduce((all, first, axis) => all * (stop[axis]! - first), 1)
}

/** A box of the prepared array, in voxels of the turned scan. */
function inScan(box: Box, crop: Crop, marginMm: number): Box {
  const scale = cropShape(crop).map((size, axis) => size / crop.shape[axis]!)
  const low = alongScan(box[0].map((value, axis) => Math.floor(value * scale[axis]!)) as Triple, crop.sliceAxis)
  const high = alongScan(box[1].map((value, axis) => Math.ceil(value * scale[axis]!)) as Triple, crop.sliceAxis)
  const margins = crop.spacing.map((step) => Math.ceil(marginMm / step))
  const shape = turnedShape(crop)
  return [
    low.map((value, axis) => Math.max(0, crop.start[axis]! + value - margins[axis]!)) as Triple,
    high.map((value, axis) => Math.min(shape[axis]!, crop.start[axis]! + value + margins[axis]!)) as Triple,
  ]
}

function turnedShape({ source, turn }: Crop): Triple {
  return turn.order.map((axis) => source[axis]!) as Triple
}
