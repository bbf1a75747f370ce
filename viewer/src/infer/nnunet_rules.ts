import { componentsOf } from './components'
import { product, strides } from './numbers'
import type { Triple } from './place'
import { type Order, resize, sameView, take } from './resample'

/** From this ratio of spacings on a grid is anisotropic. */
const ANISOTROPIC = 3

/** Preparation as nnU-Net does it, where it differs from Vesal's: `vesal.preprocessing.nnunet_rules`. */

/**
 * The axis that is resampled apart from the others, or null.
 *
 * >>> axisApart([5, 1, 1], [2, 1, 1]), axisApart([2, 1, 1], [1, 1, 4]), axisApart([1, 4, 4], [1, 1, 1]) -> 0, 2, null
 */
export function axisApart(current: Triple, wanted: Triple): number | null {
  for (const spacing of [current, wanted]) {
    const most = Math.max(...spacing)
    if (most / Math.min(...spacing) <= ANISOTROPIC) continue
    const coarse = [0, 1, 2].filter((axis) => most / spacing[axis]! === 1)
    return coarse.length === 1 ? coarse[0]! : null
  }
  return null
}

/**
 * Another number of voxels over the same field of view, within the range of what is interpolated.
 *
 * Along the axis `apart` the nearest voxel is taken, and each slice across it is resampled by itself.
 */
export function resizeApart(channel: Float32Array, shape: Triple, to: Triple, order: Order, apart: number | null): Float32Array {
  if (apart === null) return clipTo(channel, shape, resize(channel, shape, to, order), to, null)
  const places = nearestVoxels(shape[apart]!, to[apart]!)
  // Slices that none of the new ones takes are not resampled.
  const used = [...new Set(places)]
  const [before, after]: [Triple, Triple] = [[...shape], [...to]]
  before[apart] = after[apart] = used.length
  const slices = take(channel, shape, apart, used)
  const found = clipTo(slices, before, resize(slices, before, after, order), after, apart)
  return take(found, after, apart, places.map((place) => used.indexOf(place)))
}

/**
 * Of `size` voxels along an axis, which is nearest to each of `wanted` over the same field of view.
 *
 * >>> nearestVoxels(3, 6), nearestVoxels(4, 2) -> [0, 0, 1, 1, 2, 2], [1, 3]
 */
export function nearestVoxels(size: number, wanted: number): number[] {
  return Array.from(sameView(size, wanted), (place) => Math.min(Math.max(Math.floor(place + 0.5), 0), size - 1))
}

/** 1 where any channel is not 0, and in what is enclosed by such voxels. */
export function nonzeroMask(image: Float32Array[], shape: Triple): Uint8Array {
  const empty = Uint8Array.from(image[0]!, (_, at) => Number(image.every((channel) => channel[at] === 0)))
  if (!empty.includes(1)) return empty.fill(1)
  const { numbers, sizes } = componentsOf(empty, shape, false)
  const outside = new Uint8Array(sizes.length)
  let at = 0
  for (let i = 0; i < shape[0]; i++) {
    for (let j = 0; j < shape[1]; j++) {
      for (let k = 0; k < shape[2]; k++, at++) {
        if ([i, j, k].some((place, axis) => place === 0 || place === shape[axis]! - 1)) outside[numbers[at]!] = 1
      }
    }
  }
  outside[0] = 0
  return Uint8Array.from(numbers, (number) => 1 - outside[number]!)
}

/** `found` within the range of `source`: of all of it, or slice by slice along an axis. */
function clipTo(source: Float32Array, shape: Triple, found: Float32Array, to: Triple, axis: number | null): Float32Array {
  const slices = axis === null ? 1 : shape[axis]!
  const low = new Float32Array(slices).fill(Infinity)
  const high = new Float32Array(slices).fill(-Infinity)
  eachSlice(shape, axis, (at, slice) => {
    low[slice] = Math.min(low[slice]!, source[at]!)
    high[slice] = Math.max(high[slice]!, source[at]!)
  })
  eachSlice(to, axis, (at, slice) => (found[at] = Math.min(Math.max(found[at]!, low[slice]!), high[slice]!)))
  return found
}

/** Calls `visit` with each voxel and the number of its slice along an axis. */
function eachSlice(shape: Triple, axis: number | null, visit: (at: number, slice: number) => void): void {
  const [size, step, count] = axis === null ? [product(shape), 1, 1] : [product(shape), strides(shape)[axis]!, shape[axis]!]
  for (let at = 0; at < size; at++) visit(at, axis === null ? 0 : Math.floor(at / step) % count)
}
