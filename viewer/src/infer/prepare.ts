import type { Plan } from './model'
import { monaiGrid, resizeFromFirst } from './monai_rules'
import { axisApart, nonzeroMask, resizeApart } from './nnunet_rules'
import { normalise } from './normalise'
import { half, product, roundEven } from './numbers'
import {
  type Affine, alongScan, atLeast, type Box, boxOf, type Crop, cropShape, eachVoxel, inOrder, preparedTurn, spacingOf, type Triple,
  turnToRas,
} from './place'
import { blockMeans, resize } from './resample'

/** A scan as its file holds it: the first axis is the fastest in memory. */
export interface Scan {
  shape: Triple
  affine: Affine
  /** Of `shape` each. */
  channels: Float32Array[]
}

/** Network input, and the way back. */
export interface Prepared {
  /** (channels, *crop.shape), the last axis fastest. */
  image: Float32Array[]
  crop: Crop
}

/** Spacings that differ by less are the same (mm). */
const TOLERANCE_MM = 1e-3

/**
 * Turns to the plan's axes, crops to the non-zero voxels, normalises, crops to `box`, resamples to the plan:
 * `vesal.preprocessing.prepare.prepare`, step by step.
 *
 * Throws an Error with a sentence where the scan does not fit the plan.
 */
export function prepare(scan: Scan, plan: Plan, box: Box | null = null): Prepared {
  const wanted = plan.channels.length
  if (scan.channels.length !== wanted) {
    throw new Error(`The scan has ${scan.channels.length} channels where the model wants ${wanted}: ${plan.channels.join(', ')}.`)
  }
  const whole = placeOf(scan, plan)
  const crop = box ? within(whole, box, plan) : whole
  let image = scan.channels.map((channel) => cut(channel, whole))
  if (!image.every((channel) => channel.every(Number.isFinite))) {
    throw new Error('The scan has voxels that are no finite numbers; replace them.')
  }
  const foreground = plan.foreground_channel ? anyNonzero(image) : null
  // MONAI's rules normalise what was resampled.
  const late = plan.rules === 'monai'
  if (!late) normaliseAll(image, plan, cropShape(whole))
  image = image.map((channel) => resampled(box ? part(channel, whole, crop) : channel, crop, plan))
  if (late) normaliseAll(image, plan, crop.shape)
  if (foreground) image.push(resize(box ? part(foreground, whole, crop) : foreground, cropShape(crop), crop.shape, 0))
  const exact = plan.rules !== 'vesal' || plan.normalisation.some(({ scheme }) => scheme === 'none')
  if (!exact) for (const channel of image) for (let k = 0; k < channel.length; k++) channel[k] = half(channel[k]!)
  return { image, crop }
}

const masked = (plan: Plan) => plan.normalisation.some(({ scheme }) => scheme === 'zscore_mask')

function normaliseAll(image: Float32Array[], plan: Plan, shape: Triple): void {
  const mask = masked(plan) ? nonzeroMask(image, shape) : null
  image.forEach((channel, index) => normalise(channel, plan.normalisation[index]!, mask))
}

function resampled(channel: Float32Array, crop: Crop, plan: Plan): Float32Array {
  const shape = cropShape(crop)
  if (plan.rules === 'monai') return crop.steps ? resizeFromFirst(channel, shape, crop.shape, crop.steps) : channel
  if (plan.rules === 'nnunet' || masked(plan)) {
    const apart = plan.rules === 'nnunet' ? axisApart(...spacings(crop, plan)) : null
    return String(shape) === String(crop.shape) ? channel : resizeApart(channel, shape, crop.shape, plan.image_order, apart)
  }
  return plan.blocks ? blockMeans(channel, shape, crop.shape) : resize(channel, shape, crop.shape, plan.image_order)
}

/** How many voxels of a scan a patch takes along its turned axes; 1 along slices. */
export function patchInScan(plan: Plan, crop: Crop): Triple {
  const sides = plan.patch.map((size, axis) => size * plan.spacing_mm[axis]!)
  const along = sides.length === 2 ? alongScan([0, sides[0]!, sides[1]!], plan.slice_axis) : (sides as Triple)
  return along.map((side, axis) => Math.max(1, Math.ceil(side / crop.spacing[axis]!))) as Triple
}

/** The whole of a scan, turned. */
export function everywhere(scan: Scan): Box {
  const { order } = turnToRas(scan.affine)
  return [[0, 0, 0], order.map((axis) => scan.shape[axis]!) as Triple]
}

function placeOf(scan: Scan, plan: Plan): Crop {
  const turn = preparedTurn(scan.affine, plan)
  const sizes = spacingOf(scan.affine)
  const spacing = turn.order.map((axis) => sizes[axis]!) as Triple
  const start: Triple = [0, 0, 0]
  const stop = turn.order.map((axis) => scan.shape[axis]!) as Triple
  const base = { source: scan.shape, spacing, turn, start, stop, sliceAxis: plan.slice_axis, nearestAxis: null, steps: null }
  let box: Box = [start, stop]
  if (plan.crop_to_nonzero) {
    const upright: Crop = { ...base, sliceAxis: null, shape: stop }
    const filled = new Uint8Array(product(stop))
    for (const channel of scan.channels) eachVoxel(upright, (from, to) => (filled[to]! |= Number(channel[from] !== 0)))
    box = boxOf(filled, stop) ?? box
  }
  return sized({ ...base, start: box[0], stop: box[1], shape: stop }, plan)
}

/** Along the prepared array's axes the scan's own spacing, and the plan's. */
function spacings(crop: Crop, plan: Plan): [Triple, Triple] {
  const spacing = inOrder(crop.spacing, crop.sliceAxis)
  // The plan's spacing is of the network's axes; a slice axis before them keeps its own.
  return [spacing, [spacing[0], ...plan.spacing_mm].slice(-3) as Triple]
}

/** A crop with the shape that the plan resamples it to. */
function sized(crop: Crop, plan: Plan): Crop {
  const size = cropShape(crop)
  const [spacing, wanted] = spacings(crop, plan)
  if (plan.rules === 'monai') {
    const { shape, steps } = monaiGrid(size, spacing, plan.keeps_spacing ? spacing : wanted)
    return { ...crop, shape, steps: steps.every((step) => step === 1) ? null : steps }
  }
  const shape = size.map((voxels, axis) => {
    const [step, aim] = [spacing[axis]!, wanted[axis]!]
    if (Math.abs(step - aim) <= TOLERANCE_MM * Math.min(1, aim)) return voxels
    return Math.max(1, roundEven((voxels * step) / aim))
  }) as Triple
  return { ...crop, shape, nearestAxis: plan.rules === 'nnunet' ? axisApart(wanted, spacing) : null }
}

/** The part of a crop that lies in a box of at least a patch; all of it where none does. */
function within(crop: Crop, box: Box, plan: Plan): Crop {
  const wanted = atLeast(box, [crop.start, crop.stop], patchInScan(plan, crop))
  const start = crop.start.map((first, axis) => Math.max(first, wanted[0][axis]!)) as Triple
  const stop = crop.stop.map((last, axis) => Math.min(last, wanted[1][axis]!)) as Triple
  return start.some((first, axis) => first >= stop[axis]!) ? crop : sized({ ...crop, start, stop }, plan)
}

function cut(channel: Float32Array, crop: Crop): Float32Array {
  const found = new Float32Array(product(cropShape(crop)))
  eachVoxel(crop, (from, to) => (found[to] = channel[from]!))
  return found
}

/** What lies in a smaller crop of the same scan, out of a larger one's array. */
function part(channel: Float32Array, whole: Crop, smaller: Crop): Float32Array {
  const offset = inOrder(smaller.start.map((first, axis) => first - whole.start[axis]!) as Triple, whole.sliceAxis)
  const [, b, c] = cropShape(whole)
  const shape = cropShape(smaller)
  const found = new Float32Array(product(shape))
  let to = 0
  for (let i = 0; i < shape[0]; i++) {
    for (let j = 0; j < shape[1]; j++) {
      const from = ((i + offset[0]) * b + j + offset[1]) * c + offset[2]
      found.set(channel.subarray(from, from + shape[2]), to)
      to += shape[2]
    }
  }
  return found
}

function anyNonzero(image: Float32Array[]): Float32Array {
  return image[0]!.map((_, index) => Number(image.some((channel) => channel[index] !== 0)))
}
