import { outputsOf, type Plan } from './model'
import { product, roundEven, strides } from './numbers'
import type { Triple } from './place'

/** Share of a window that its neighbour covers again (nnU-Net). */
const OVERLAP = 0.5

/** One window (C, *patch) -> logits (K, *patch), the mean of the networks. */
export type Network = (window: Float32Array) => Promise<Float32Array>

/**
 * First voxels of the windows along an axis, evenly spread from border to border.
 *
 * >>> windowStarts(100, 40) -> [0, 20, 40, 60]
 */
export function windowStarts(size: number, window: number): number[] {
  if (size <= window) return [0]
  const step = Math.max(1, window * (1 - OVERLAP))
  const count = Math.ceil((size - window) / step) + 1
  return Array.from({ length: count }, (_, k) => roundEven(((size - window) * k) / (count - 1)))
}

/** What each window of an axis weighs at its voxels: a Gaussian, over the sum of all windows' there. */
export function windowWeights(size: number, window: number, starts: number[]): Float32Array[] {
  const gaussian = Float64Array.from({ length: window }, (_, k) => Math.exp(-0.5 * ((k - (window - 1) / 2) / (window / 8)) ** 2))
  const total = new Float64Array(Math.max(size, window))
  for (const start of starts) gaussian.forEach((value, k) => (total[start + k]! += value))
  return starts.map((start) => Float32Array.from(gaussian, (value, k) => value / total[start + k]!))
}

/**
 * Logits (K, *shape) of a prepared image (C, *shape): `vesal.infer.windows`, the whole volume in memory.
 *
 * Windows in which every channel has one value throughout are computed once. `progress` hears 0..1.
 */
export async function predictLogits(
  network: Network,
  image: Float32Array[],
  shape: Triple,
  plan: Plan,
  progress: (share: number) => void,
): Promise<Float32Array> {
  const outputs = outputsOf(plan)
  const patch = [...Array<number>(3 - plan.patch.length).fill(1), ...plan.patch] as Triple
  const padded = shape.map((size, axis) => Math.max(size, patch[axis]!)) as Triple
  const before = padded.map((size, axis) => Math.floor((size - shape[axis]!) / 2)) as Triple
  const input = image.map((channel) => pad(channel, shape, padded, before))
  // Of a stack every slice is a window's.
  const starts = padded.map((size, axis) =>
    patch[axis] === 1 ? Array.from({ length: size }, (_, k) => k) : windowStarts(size, patch[axis]!),
  )
  const weights = starts.map((firsts, axis) => windowWeights(padded[axis]!, patch[axis]!, firsts))
  const sums = new Float32Array(outputs * product(padded))
  const known = new Map<string, Float32Array>()
  const all = product(starts.map(({ length }) => length))
  let done = 0
  for (const [i, x] of starts[0]!.entries()) {
    for (const [j, y] of starts[1]!.entries()) {
      for (const [k, z] of starts[2]!.entries()) {
        const window = cutWindow(input, padded, [x, y, z], patch)
        const values = constantOf(window, input.length)
        const logits = (values === null ? undefined : known.get(values)) ?? (await network(window))
        if (values !== null) known.set(values, logits)
        add(sums, padded, logits, patch, [x, y, z], [weights[0]![i]!, weights[1]![j]!, weights[2]![k]!], outputs)
        progress(++done / all)
      }
    }
  }
  return unpad(sums, outputs, padded, shape, before)
}

function cutWindow(input: Float32Array[], shape: Triple, corner: Triple, patch: Triple): Float32Array {
  const window = new Float32Array(input.length * product(patch))
  let to = 0
  for (const channel of input) {
    for (let i = 0; i < patch[0]; i++) {
      for (let j = 0; j < patch[1]; j++) {
        const from = ((corner[0] + i) * shape[1] + corner[1] + j) * shape[2] + corner[2]
        window.set(channel.subarray(from, from + patch[2]), to)
        to += patch[2]
      }
    }
  }
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

function add(
  sums: Float32Array,
  shape: Triple,
  logits: Float32Array,
  patch: Triple,
  corner: Triple,
  [wx, wy, wz]: [Float32Array, Float32Array, Float32Array],
  outputs: number,
): void {
  const volume = product(shape)
  let from = 0
  for (let output = 0; output < outputs; output++) {
    for (let i = 0; i < patch[0]; i++) {
      for (let j = 0; j < patch[1]; j++) {
        const weight = wx[i]! * wy[j]!
        let to = output * volume + ((corner[0] + i) * shape[1] + corner[1] + j) * shape[2] + corner[2]
        for (let k = 0; k < patch[2]; k++) sums[to++]! += logits[from++]! * weight * wz[k]!
      }
    }
  }
}

/** Zeros around the centre. */
function pad(channel: Float32Array, shape: Triple, padded: Triple, before: Triple): Float32Array {
  if (product(padded) === product(shape)) return channel
  const found = new Float32Array(product(padded))
  rows(shape, padded, before, (inner, outer) => found.set(channel.subarray(inner, inner + shape[2]), outer))
  return found
}

function unpad(sums: Float32Array, outputs: number, padded: Triple, shape: Triple, before: Triple): Float32Array {
  const [big, small] = [product(padded), product(shape)]
  if (big === small) return sums
  const found = new Float32Array(outputs * small)
  for (let output = 0; output < outputs; output++) {
    rows(shape, padded, before, (inner, outer) => {
      const from = output * big + outer
      found.set(sums.subarray(from, from + shape[2]), output * small + inner)
    })
  }
  return found
}

/** Calls `visit` with where each row of the last axis begins in the inner array and in the padded one. */
function rows(shape: Triple, padded: Triple, before: Triple, visit: (inner: number, outer: number) => void): void {
  const [inner, outer] = [strides(shape), strides(padded)]
  for (let i = 0; i < shape[0]; i++) {
    for (let j = 0; j < shape[1]; j++) {
      visit(i * inner[0]! + j * inner[1]!, (i + before[0]) * outer[0]! + (j + before[1]) * outer[1]! + before[2])
    }
  }
}
