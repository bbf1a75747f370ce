import { roundEven } from './numbers'
import type { Triple } from './place'
import { interpolate } from './resample'

/** Spacings that differ by less stay as they are. */
const TOLERANCE_MM = 1e-3

/** Preparation as MONAI does it, where it differs from Vesal's: `vesal.preprocessing.monai_rules`. */

/** Voxels along each axis at the wanted spacing, and how many of them (a fraction) lie in one of the current. */
export function monaiGrid(shape: Triple, current: Triple, wanted: Triple): { shape: Triple; steps: Triple } {
  const steps = current.map((have, axis) => (Math.abs(have - wanted[axis]!) <= TOLERANCE_MM ? 1 : have / wanted[axis]!)) as Triple
  return { shape: shape.map((size, axis) => roundEven((size - 1) * steps[axis]! + 1)) as Triple, steps }
}

/** Another number of voxels, linearly, the centres of both grids' first ones on each other; as of `monaiGrid`. */
export function resizeFromFirst(channel: Float32Array, shape: Triple, to: Triple, steps: Triple): Float32Array {
  const where = to.map((size, axis) => Float64Array.from({ length: size }, (_, k) => k / steps[axis]!))
  return interpolate(channel, shape, where, 1)
}
