import { nearestVoxels } from './nnunet_rules'
import type { Triple } from './place'
import { sameView } from './resample'

/** Between which grids labels are made; as of `vesal.data.crop.Crop`. */
export interface Grids {
  coarse: Triple
  fine: Triple
  nearestAxis: number | null
  steps: Triple | null
}

/** Linear interpolation along an axis; a cell lies between neighbouring coarse voxels, or is one where nothing moves. */
export interface Axis {
  size: number
  low: Int32Array
  high: Int32Array
  share: Float32Array
  /** From the lower corner of a cell to the upper. */
  step: 0 | 1
}
export type Axes = [Axis, Axis, Axis]

export function axesOf({ coarse, fine, nearestAxis, steps }: Grids): Axes {
  return coarse.map((size, axis) => axisOf(size, fine[axis]!, nearestAxis === axis, steps?.[axis] ?? null)) as Axes
}

function axisOf(size: number, wanted: number, nearest: boolean, step: number | null): Axis {
  const still = size === wanted && (step === null || step === 1)
  if (still || nearest) {
    const low = Int32Array.from(still ? Array.from({ length: size }, (_, k) => k) : nearestVoxels(size, wanted))
    return { size, low, high: low, share: new Float32Array(wanted), step: 0 }
  }
  const where = step === null ? sameView(size, wanted) : Float64Array.from({ length: wanted }, (_, k) => k * step)
  const at = where.map((place) => Math.min(Math.max(place, 0), size - 1))
  const low = Int32Array.from(at, (place) => Math.min(Math.floor(place), Math.max(size - 2, 0)))
  const corner = size > 1 ? 1 : 0
  return { size, low, high: low.map((index) => index + corner), share: Float32Array.from(at, (place, k) => place - low[k]!), step: corner }
}

/** As numpy and torch round it. */
export function between(low: number, high: number, share: number): number {
  return share === 0 ? low : Math.fround(low + Math.fround(Math.fround(high - low) * share))
}

/** Gives a plane (K, fine, fine) of the first coarse axis, interpolated along the last axis, then along the second. */
export function planes(values: Float32Array, outputs: number, [x, y, z]: Axes): (number: number) => Float32Array {
  const [height, width] = [y.low.length, z.low.length]
  const kept = new Map<number, Float32Array>()
  const row = new Float32Array(y.size * width)
  return (number) => {
    const known = kept.get(number)
    if (known) return known
    // Neighbours alone are needed again.
    for (const old of kept.keys()) if (old < number - 1) kept.delete(old)
    const plane = new Float32Array(outputs * height * width)
    for (let output = 0, to = 0; output < outputs; output++) {
      const first = (output * x.size + number) * y.size * z.size
      for (let j = 0, at = 0; j < y.size; j++) {
        const from = first + j * z.size
        for (let k = 0; k < width; k++) row[at++] = between(values[from + z.low[k]!]!, values[from + z.high[k]!]!, z.share[k]!)
      }
      for (let j = 0; j < height; j++) {
        const [low, high] = [y.low[j]! * width, y.high[j]! * width]
        for (let k = 0; k < width; k++) plane[to++] = between(row[low + k]!, row[high + k]!, y.share[j]!)
      }
    }
    kept.set(number, plane)
    return plane
  }
}
