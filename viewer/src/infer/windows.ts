import { product, roundEven, strides } from './numbers'
import type { Triple } from './place'

/** One window (C, *patch) -> logits (K, *patch). */
export type Network = (window: Float32Array) => Promise<Float32Array>

/** Where the windows of a volume lie. */
export interface Grid {
  shape: Triple
  patch: Triple
  /** The volume with zeros around it, at least a window. */
  padded: Triple
  /** Voxels that are padded in front. */
  before: Triple
  /** First voxels of the windows along each axis. */
  starts: [number[], number[], number[]]
}

/**
 * First voxels of the windows along an axis, evenly spread from border to border.
 *
 * >>> windowStarts(100, 40, 0.5) -> [0, 20, 40, 60]
 */
export function windowStarts(size: number, window: number, overlap: number): number[] {
  if (size <= window) return [0]
  const step = Math.max(1, window * (1 - overlap))
  const count = Math.ceil((size - window) / step) + 1
  const apart = (size - window) / (count - 1)
  return Array.from({ length: count }, (_, k) => (k === count - 1 ? size - window : roundEven(k * apart)))
}

/** First voxels of all windows, the last axis fastest. */
export function corners({ starts: [first, second, third] }: Grid): Triple[] {
  return first.flatMap((i) => second.flatMap((j) => third.map((k): Triple => [i, j, k])))
}

/** Calls `visit` with the logits (K, *patch) of every window of a padded image, in the order of `corners`. */
export async function eachWindow(
  network: Network,
  image: Float32Array[],
  grid: Grid,
  visit: (logits: Float32Array, corner: Triple) => void,
  progress: (share: number) => void,
): Promise<void> {
  // Windows in which every channel has one value throughout are computed once.
  const known = new Map<string, Float32Array>()
  const all = corners(grid)
  for (const [number, corner] of all.entries()) {
    const window = cutWindow(image, grid, corner)
    const values = constantOf(window, image.length)
    const logits = (values === null ? undefined : known.get(values)) ?? (await network(window))
    if (values !== null) known.set(values, logits)
    visit(logits, corner)
    progress((number + 1) / all.length)
  }
}

/** Calls `visit` with where each row of a window begins, in the window and in the padded volume. */
export function windowRows({ patch, padded }: Grid, corner: Triple, visit: (inner: number, outer: number) => void): void {
  let from = 0
  for (let i = 0; i < patch[0]; i++) {
    for (let j = 0; j < patch[1]; j++, from += patch[2]) {
      visit(from, ((corner[0] + i) * padded[1] + corner[1] + j) * padded[2] + corner[2])
    }
  }
}

function cutWindow(image: Float32Array[], grid: Grid, corner: Triple): Float32Array {
  const size = product(grid.patch)
  const window = new Float32Array(image.length * size)
  image.forEach((channel, number) => {
    windowRows(grid, corner, (inner, outer) => window.set(channel.subarray(outer, outer + grid.patch[2]), number * size + inner))
  })
  return window
}

/** The one value of each channel of a window; null where a channel has several. */
function constantOf(window: Float32Array, channels: number): string | null {
  const size = window.length / channels
  const values: number[] = []
  for (let channel = 0; channel < channels; channel++) {
    const part = window.subarray(channel * size, (channel + 1) * size)
    if (part.some((value) => value !== part[0])) return null
    values.push(part[0]!)
  }
  return values.join()
}

/** Zeros around the centre. */
export function pad(channel: Float32Array, grid: Grid): Float32Array {
  const { shape, padded } = grid
  if (product(padded) === product(shape)) return channel
  const found = new Float32Array(product(padded))
  rows(grid, (inner, outer) => found.set(channel.subarray(inner, inner + shape[2]), outer))
  return found
}

/** (K, *padded) -> (K, *shape). */
export function unpad(sums: Float32Array, outputs: number, grid: Grid): Float32Array {
  const { shape, padded } = grid
  const [big, small] = [product(padded), product(shape)]
  if (big === small) return sums
  const found = new Float32Array(outputs * small)
  for (let output = 0; output < outputs; output++) {
    rows(grid, (inner, outer) => {
      const from = output * big + outer
      found.set(sums.subarray(from, from + shape[2]), output * small + inner)
    })
  }
  return found
}

/** Calls `visit` with where each row of the last axis begins in the inner array and in the padded one. */
function rows({ shape, padded, before }: Grid, visit: (inner: number, outer: number) => void): void {
  const [inner, outer] = [strides(shape), strides(padded)]
  for (let i = 0; i < shape[0]; i++) {
    for (let j = 0; j < shape[1]; j++) {
      visit(i * inner[0]! + j * inner[1]!, (i + before[0]) * outer[0]! + (j + before[1]) * outer[1]! + before[2])
    }
  }
}
