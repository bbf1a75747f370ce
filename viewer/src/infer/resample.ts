import { roundEven, strides } from './numbers'
import type { Triple } from './place'

/** How far an edge is continued before the spline's filter: its memory fades as 0.268^n. */
const PAD = 12
/** Of the cubic B-spline (Unser 1999). */
const POLE = Math.sqrt(3) - 2

/** Of interpolation. */
export type Order = 0 | 1 | 3

/** Where the voxels of an axis of `to` lie among the `from` voxels of the same field of view. */
export function sameView(from: number, to: number): Float64Array {
  return Float64Array.from({ length: to }, (_, index) => (index + 0.5) * (from / to) - 0.5)
}

/** Another number of voxels over the same field of view; `vesal.volume.resample.resize`. */
export function resize(array: Float32Array, shape: Triple, to: Triple, order: Order): Float32Array {
  return interpolate(array, shape, shape.map((size, axis) => sameView(size, to[axis]!)), order)
}

/**
 * The values at the outer product of coordinates along each axis, those beyond the edges clamped.
 *
 * Order 0 takes the nearest voxel, 1 is linear, 3 the cubic B-spline through the voxels. Edge voxels continue outwards.
 */
export function interpolate(array: Float32Array, shape: Triple, where: Float64Array[], order: Order): Float32Array {
  let found = array
  const now: Triple = [...shape]
  // The axes that shrink most come first: the later ones then have less to do.
  const ratio = (axis: number) => where[axis]!.length / shape[axis]!
  for (const axis of [0, 1, 2].sort((one, other) => ratio(one) - ratio(other) || one - other)) {
    const [size, at] = [now[axis]!, where[axis]!]
    if (size === at.length && at.every((place, k) => place === k)) continue
    found = along(found, now, axis, tapsOf(size, at, order === 3 && size === 1 ? 1 : order))
    now[axis] = at.length
  }
  return found
}

/** The voxels of these numbers along one axis. */
export function take(array: Float32Array, shape: Triple, axis: number, numbers: ArrayLike<number>): Float32Array {
  return along(array, shape, axis, chosen(numbers))
}

/**
 * The mean of each block of voxels that a voxel of the new grid covers; `vesal.preprocessing.coarse_grid.block_means`.
 */
export function blockMeans(array: Float32Array, shape: Triple, to: Triple): Float32Array {
  let found = array
  const now: Triple = [...shape]
  for (let axis = 0; axis < 3; axis++) {
    const [old, size] = [now[axis]!, to[axis]!]
    if (old === size) continue
    found = along(found, now, axis, blocksOf(old, size))
    now[axis] = size
  }
  return found
}

/** What is done with one line of voxels. */
type Line = (line: Float64Array, out: Float64Array) => void
interface Taps {
  size: number
  apply: Line
}

/** Applies `taps` to every line of an array along one axis. */
function along(array: Float32Array, shape: Triple, axis: number, { size, apply }: Taps): Float32Array {
  const to: Triple = [...shape]
  to[axis] = size
  const [from, into] = [strides(shape), strides(to)]
  const out = new Float32Array(to[0] * to[1] * to[2])
  const line = new Float64Array(shape[axis]!)
  const done = new Float64Array(size)
  const [one, other] = [0, 1, 2].filter((number) => number !== axis) as [number, number]
  for (let i = 0; i < shape[one]!; i++) {
    for (let j = 0; j < shape[other]!; j++) {
      const first = i * from[one]! + j * from[other]!
      for (let k = 0; k < line.length; k++) line[k] = array[first + k * from[axis]!]!
      apply(line, done)
      const target = i * into[one]! + j * into[other]!
      for (let k = 0; k < size; k++) out[target + k * into[axis]!] = done[k]!
    }
  }
  return out
}

function tapsOf(size: number, where: Float64Array, order: Order): Taps {
  if (order === 0) return chosen(where.map((at) => Math.min(Math.max(Math.floor(at + 0.5), 0), size - 1)))
  return order === 1 ? linear(size, where) : cubic(size, where)
}

function chosen(numbers: ArrayLike<number>): Taps {
  return { size: numbers.length, apply: (line, out) => out.forEach((_, k) => (out[k] = line[numbers[k]!]!)) }
}

function linear(size: number, where: Float64Array): Taps {
  const at = where.map((place) => Math.min(Math.max(place, 0), size - 1))
  const low = at.map(Math.floor)
  const high = low.map((index) => Math.min(index + 1, size - 1))
  const apply: Line = (line, out) => {
    for (let k = 0; k < out.length; k++) {
      const value = line[low[k]!]!
      out[k] = value + (line[high[k]!]! - value) * (at[k]! - low[k]!)
    }
  }
  return { size: where.length, apply }
}

function cubic(size: number, where: Float64Array): Taps {
  const at = where.map((place) => Math.min(Math.max(place, -1), size) + PAD)
  const first = at.map((place) => Math.floor(place) - 1)
  const padded = new Float64Array(size + 2 * PAD)
  const apply: Line = (line, out) => {
    for (let k = 0; k < padded.length; k++) padded[k] = line[Math.min(Math.max(k - PAD, 0), size - 1)]!
    prefilter(padded)
    for (let k = 0; k < out.length; k++) {
      const begin = first[k]!
      const t = at[k]! - begin - 1
      out[k] =
        (padded[begin]! * (1 - t) ** 3 +
          padded[begin + 1]! * (4 - 6 * t * t + 3 * t ** 3) +
          padded[begin + 2]! * (1 + 3 * t + 3 * t * t - 3 * t ** 3) +
          padded[begin + 3]! * t ** 3) /
        6
    }
  }
  return { size: where.length, apply }
}

/** Values -> coefficients of the cubic B-spline through them, mirrored at the ends, in place. */
function prefilter(line: Float64Array): void {
  const last = line.length - 1
  for (let k = 0; k <= last; k++) line[k]! *= 6
  const around = POLE ** last
  let power = POLE
  let start = line[0]! + around * line[last]!
  for (let k = 1; k < last; k++, power *= POLE) start += power * (line[k]! + around * line[last - k]!)
  line[0] = start / (1 - around * around)
  for (let k = 1; k <= last; k++) line[k]! += POLE * line[k - 1]!
  line[last] = ((POLE * line[last - 1]! + line[last]!) * POLE) / (POLE * POLE - 1)
  for (let k = last - 1; k >= 0; k--) line[k] = POLE * (line[k + 1]! - line[k]!)
}

function blocksOf(old: number, size: number): Taps {
  if (size > old) {
    return chosen(Array.from({ length: size }, (_, k) => Math.floor((k + 0.5) * (old / size))))
  }
  const edges = Float64Array.from({ length: size + 1 }, (_, k) => roundEven(k * (old / size)))
  const apply: Line = (line, out) => {
    for (let k = 0; k < size; k++) {
      let sum = 0
      for (let from = edges[k]!; from < edges[k + 1]!; from++) sum += line[from]!
      out[k] = sum / (edges[k + 1]! - edges[k]!)
    }
  }
  return { size, apply }
}
