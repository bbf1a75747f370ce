import type { Plan } from './model'
import { strides } from './numbers'

export type Triple = [number, number, number]
/** (start, stop) along the axes of a scan that was turned nearest to RAS+. */
export type Box = [Triple, Triple]

/** Array axes -> the axes nearest to RAS+: new axis i is the old axis order[i], reversed where flips[i]. */
export interface Turn {
  order: Triple
  flips: [boolean, boolean, boolean]
}

/** Where a prepared array lies in its scan; `vesal.data.crop.Crop`. */
export interface Crop {
  /** Of the scan's own array. */
  source: Triple
  /** Spacing of the turned scan, mm. */
  spacing: Triple
  turn: Turn
  start: Triple
  stop: Triple
  /** Which turned axis comes first in the prepared array; null for none. */
  sliceAxis: number | null
  /** Of the prepared array. */
  shape: Triple
  /** Of the prepared array, along which logits go back by the nearest voxel; null for none. */
  nearestAxis: number | null
  /** From one voxel of the crop to the next, in voxels of the prepared array, by MONAI's rules; null elsewhere. */
  steps: Triple | null
}

/** Rows of a 4 x 4 affine from voxels to millimetres, RAS+. */
export type Affine = number[][]

/** Distance of neighbouring voxels along each array axis, mm. */
export function spacingOf(affine: Affine): Triple {
  const length = (column: number) => Math.hypot(affine[0]![column]!, affine[1]![column]!, affine[2]![column]!)
  return [length(0), length(1), length(2)]
}

/** mm³ of a voxel. */
export function voxelMm3(affine: Affine): number {
  return Math.abs(determinant(affine.slice(0, 3).map((row) => row.slice(0, 3))))
}

/** The largest distance (mm) between the same corner voxel of two grids of one shape. */
export function apartMm(one: Affine, other: Affine, shape: Triple): number {
  const ends = shape.map((size) => [0, size - 1]) as [number[], number[], number[]]
  const corners = ends[0].flatMap((i) => ends[1].flatMap((j) => ends[2].map((k) => [i, j, k, 1])))
  const gaps = one.slice(0, 3).map((row, axis) => row.map((value, column) => value - other[axis]![column]!))
  const away = (corner: number[]) => Math.hypot(...gaps.map((gap) => gap.reduce((sum, value, at) => sum + value * corner[at]!, 0)))
  return Math.max(...corners.map(away))
}

/** Which turn brings an array nearest to RAS+, as nibabel's `io_orientation` finds it. */
export function turnToRas(affine: Affine): Turn {
  const sizes = spacingOf(affine)
  const rotation = nearestRotation([0, 1, 2].map((row) => [0, 1, 2].map((column) => affine[row]![column]! / sizes[column]!)))
  const order: Triple = [0, 0, 0]
  const flips: [boolean, boolean, boolean] = [false, false, false]
  const free = new Set([0, 1, 2])
  const strength = (axis: number) => Math.max(...rotation.map((row) => row[axis]! ** 2))
  // From the strongest to the weakest.
  for (const axis of [0, 1, 2].sort((one, other) => strength(other) - strength(one) || one - other)) {
    const rows = [...free].sort((one, other) => Math.abs(rotation[other]![axis]!) - Math.abs(rotation[one]![axis]!) || one - other)
    const world = rows[0]!
    free.delete(world)
    order[world] = axis
    flips[world] = rotation[world]![axis]! < 0
  }
  return { order, flips }
}

/** Which turn brings a scan's axes into the plan's order; `vesal.planning.axes.prepared_turn`. */
export function preparedTurn(affine: Affine, { axis_order, as_stored }: Pick<Plan, 'axis_order' | 'as_stored'>): Turn {
  const turn: Turn = as_stored ? { order: [0, 1, 2], flips: [false, false, false] } : turnToRas(affine)
  const order = axis_order ?? [0, 1, 2]
  return {
    order: order.map((axis) => turn.order[axis]!) as Triple,
    flips: order.map((axis) => turn.flips[axis]!) as Turn['flips'],
  }
}

/** Size of the box before resampling, in the prepared array's order of axes. */
export function cropShape({ start, stop, sliceAxis }: Crop): Triple {
  return inOrder([stop[0] - start[0], stop[1] - start[1], stop[2] - start[2]], sliceAxis)
}

/**
 * Values of the turned axes in the prepared array's order.
 *
 * >>> inOrder([320, 300, 15], 2) -> [15, 320, 300]
 */
export function inOrder<T>(axes: readonly [T, T, T], sliceAxis: number | null): [T, T, T] {
  if (sliceAxis === null) return [axes[0], axes[1], axes[2]]
  const others = [0, 1, 2].filter((axis) => axis !== sliceAxis)
  return [axes[sliceAxis]!, axes[others[0]!]!, axes[others[1]!]!]
}

/** The inverse of `inOrder`. */
export function alongScan<T>(axes: readonly [T, T, T], sliceAxis: number | null): [T, T, T] {
  if (sliceAxis === null) return [axes[0], axes[1], axes[2]]
  const found = [axes[1], axes[2]]
  found.splice(sliceAxis, 0, axes[0])
  return found as [T, T, T]
}

/** How the scan's array (first axis fastest) is walked through in the order of the cropped one (last axis fastest). */
export function walk({ source, turn, start, stop, sliceAxis }: Crop): { first: number; steps: Triple; shape: Triple } {
  const own = [1, source[0], source[0] * source[1]]
  let first = 0
  const steps: Triple = [0, 0, 0]
  const shape: Triple = [0, 0, 0]
  for (let axis = 0; axis < 3; axis++) {
    const of = turn.order[axis]!
    const step = own[of]!
    first += turn.flips[axis] ? (source[of]! - 1 - start[axis]!) * step : start[axis]! * step
    steps[axis] = turn.flips[axis] ? -step : step
    shape[axis] = stop[axis]! - start[axis]!
  }
  return { first, steps: inOrder(steps, sliceAxis), shape: inOrder(shape, sliceAxis) }
}

/** Calls `visit(place in the scan's array, place in the cropped array)` for every voxel of a crop. */
export function eachVoxel(crop: Crop, visit: (from: number, to: number) => void): void {
  const { first, steps, shape } = walk(crop)
  let to = 0
  for (let a = 0; a < shape[0]; a++) {
    for (let b = 0; b < shape[1]; b++) {
      let from = first + a * steps[0] + b * steps[1]
      for (let c = 0; c < shape[2]; c++, from += steps[2]) visit(from, to++)
    }
  }
}

/** The smallest box around what is not 0 in an array of this shape, the last axis fastest; null of nothing. */
export function boxOf(mask: ArrayLike<number>, shape: Triple): Box | null {
  const [, , c] = shape
  const [sa, sb] = strides(shape) as Triple
  const start: Triple = [...shape]
  const stop: Triple = [0, 0, 0]
  for (let i = 0; i < shape[0]; i++) {
    for (let j = 0; j < shape[1]; j++) {
      const row = i * sa + j * sb
      let low = 0
      while (low < c && !mask[row + low]) low++
      if (low === c) continue
      let high = c - 1
      while (!mask[row + high]) high--
      start[0] = Math.min(start[0], i)
      stop[0] = i + 1
      start[1] = Math.min(start[1], j)
      stop[1] = Math.max(stop[1], j + 1)
      start[2] = Math.min(start[2], low)
      stop[2] = Math.max(stop[2], high + 1)
    }
  }
  return stop[0] ? [start, stop] : null
}

/**
 * The box, with short sides grown alike on both ends to so many voxels, and moved into the bounds where it leaves them.
 *
 * >>> atLeast([[4, 1, 0], [8, 3, 1]], [[0, 0, 0], [20, 20, 1]], [2, 6, 1]) -> [[4, 0, 0], [8, 6, 1]]
 */
export function atLeast(box: Box, bounds: Box, least: Triple): Box {
  const start: Triple = [0, 0, 0]
  const stop: Triple = [0, 0, 0]
  for (let axis = 0; axis < 3; axis++) {
    const [low, high] = [bounds[0][axis]!, bounds[1][axis]!]
    const has = box[1][axis]! - box[0][axis]!
    const side = Math.min(Math.max(has, least[axis]!), high - low)
    const begin = Math.min(Math.max(box[0][axis]! - Math.floor((side - has) / 2), low), high - side)
    start[axis] = begin
    stop[axis] = begin + side
  }
  return [start, stop]
}

/** The orthogonal matrix nearest to one whose columns have length 1 (its polar factor), by Newton's iteration. */
function nearestRotation(matrix: number[][]): number[][] {
  let found = matrix
  for (let round = 0; round < 50; round++) {
    const inverse = invert(found)
    const next = found.map((row, i) => row.map((value, j) => (value + inverse[j]![i]!) / 2))
    const moved = Math.max(...next.flatMap((row, i) => row.map((value, j) => Math.abs(value - found[i]![j]!))))
    found = next
    if (moved < 1e-13) break
  }
  return found
}

function determinant(m: number[][]): number {
  const [[a, b, c], [d, e, f], [g, h, i]] = m as [Triple, Triple, Triple]
  return a * (e * i - f * h) - b * (d * i - f * g) + c * (d * h - e * g)
}

function invert(m: number[][]): number[][] {
  const [[a, b, c], [d, e, f], [g, h, i]] = m as [Triple, Triple, Triple]
  const size = determinant(m)
  return [
    [e * i - f * h, c * h - b * i, b * f - c * e],
    [f * g - d * i, a * i - c * g, c * d - a * f],
    [d * h - e * g, b * g - a * h, a * e - b * d],
  ].map((row) => row.map((value) => value / size))
}
