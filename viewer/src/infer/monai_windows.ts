import type { Plan } from './model'
import { product } from './numbers'
import type { Triple } from './place'
import { corners, type Grid, windowRows } from './windows'

/** Of a Gaussian in shares of the window, and what a voxel weighs at least. */
const [SIGMA, LEAST] = [0.125, 1e-3]

/** Windows as MONAI's sliding window inferer lays and weighs them: `vesal.infer.imported_windows.monai_windows`. */

/**
 * First voxels of the windows along one axis: a fixed step apart, the last one moved back to the border.
 *
 * >>> monaiStarts(90, 40, 0.5) -> [0, 20, 40, 50]
 */
export function monaiStarts(size: number, window: number, overlap: number): number[] {
  if (size <= window) return [0]
  const step = Math.max(1, Math.floor(window * (1 - overlap)))
  const starts = [0]
  while (starts[starts.length - 1]! + window < size) starts.push(Math.min(starts[starts.length - 1]! + step, size - window))
  return starts
}

/** What a window (*patch) at a corner weighs at its voxels beside those that cover them too: all of a voxel sum to 1. */
export function monaiWeights(grid: Grid, blend: Plan['blend']): (corner: Triple) => Float32Array {
  const { patch, padded } = grid
  const own = importance(patch, blend)
  const total = new Float32Array(product(padded))
  for (const corner of corners(grid)) {
    windowRows(grid, corner, (inner, outer) => {
      for (let k = 0; k < patch[2]; k++) total[outer + k]! += own[inner + k]!
    })
  }
  const weight = new Float32Array(own.length)
  return (corner) => {
    windowRows(grid, corner, (inner, outer) => {
      for (let k = 0; k < patch[2]; k++) weight[inner + k] = own[inner + k]! / total[outer + k]!
    })
    return weight
  }
}

/** MONAI's importance map of a window, (*patch). */
function importance(patch: Triple, blend: Plan['blend']): Float32Array {
  const [x, y, z] = patch.map((size) =>
    Float32Array.from({ length: size }, (_, k) => {
      const away = Math.fround((k - (size - 1) / 2) ** 2)
      return blend === 'gaussian' ? Math.exp(Math.fround(away / Math.fround(-2 * (SIGMA * size) ** 2))) : 1
    }),
  ) as [Float32Array, Float32Array, Float32Array]
  const found = new Float32Array(product(patch))
  let at = 0
  for (const a of x) for (const b of y) for (const c of z) found[at++] = Math.fround(a * b) * c
  const least = Math.fround(Math.max(found.reduce((one, other) => Math.min(one, other), Infinity), LEAST))
  return found.map((value) => Math.max(value, least))
}
