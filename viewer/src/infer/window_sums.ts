import { outputsOf, type Plan } from './model'
import { monaiStarts, monaiWeights } from './monai_windows'
import { nnunetLogits } from './nnunet_windows'
import { product } from './numbers'
import type { Triple } from './place'
import { eachWindow, type Grid, type Network, pad, unpad, windowRows, windowStarts } from './windows'

/**
 * Logits (K, *shape) of a prepared image (C, *shape), the mean of the networks: `vesal.infer.windows`, the whole
 * volume in memory. `progress` hears 0..1.
 */
export async function predictLogits(
  networks: Network[],
  image: Float32Array[],
  shape: Triple,
  plan: Plan,
  progress: (share: number) => void,
): Promise<Float32Array> {
  const outputs = outputsOf(plan)
  const grid = gridOf(shape, plan)
  const input = image.map((channel) => pad(channel, grid))
  if (plan.rules === 'nnunet') return unpad(await nnunetLogits(networks, input, grid, outputs, progress), outputs, grid)
  const weightOf = plan.rules === 'monai' ? monaiWeights(grid, plan.blend) : gaussianWeights(grid)
  const sums = new Float32Array(outputs * product(grid.padded))
  const visit = (logits: Float32Array, corner: Triple) => add(sums, grid, corner, logits, weightOf(corner), outputs)
  await eachWindow(vote(networks), input, grid, visit, progress)
  return unpad(sums, outputs, grid)
}

/** The windows of a volume of this shape; `vesal.infer.windows`. */
function gridOf(shape: Triple, plan: Plan): Grid {
  const patch = [...Array<number>(3 - plan.patch.length).fill(1), ...plan.patch] as Triple
  const padded = shape.map((size, axis) => Math.max(size, patch[axis]!)) as Triple
  const before = padded.map((size, axis) => Math.floor((size - shape[axis]!) / 2)) as Triple
  const lay = plan.rules === 'monai' ? monaiStarts : windowStarts
  // Of a stack every slice is a window's.
  const starts = padded.map((size, axis) =>
    patch[axis] === 1 ? Array.from({ length: size }, (_, k) => k) : lay(size, patch[axis]!, plan.overlap),
  ) as Grid['starts']
  return { shape, patch, padded, before, starts }
}

/** What each window of an axis weighs at its voxels: a Gaussian, over the sum of all windows' there. */
export function windowWeights(size: number, window: number, starts: number[]): Float32Array[] {
  const gaussian = Float64Array.from({ length: window }, (_, k) => Math.exp(-0.5 * ((k - (window - 1) / 2) / (window / 8)) ** 2))
  const total = new Float64Array(Math.max(size, window))
  for (const start of starts) gaussian.forEach((value, k) => (total[start + k]! += value))
  return starts.map((start) => Float32Array.from(gaussian, (value, k) => value / total[start + k]!))
}

/** What a window (*patch) at a corner weighs at its voxels. */
function gaussianWeights({ padded, patch, starts }: Grid): (corner: Triple) => Float32Array {
  const along = starts.map((firsts, axis) => windowWeights(padded[axis]!, patch[axis]!, firsts))
  const weight = new Float32Array(product(patch))
  return (corner) => {
    const [x, y, z] = corner.map((first, axis) => along[axis]![starts[axis]!.indexOf(first)]!) as [Float32Array, Float32Array, Float32Array]
    let at = 0
    for (const a of x) for (const b of y) for (const c of z) weight[at++] = Math.fround(a * b) * c
    return weight
  }
}

function vote(networks: Network[]): Network {
  if (networks.length === 1) return networks[0]!
  return async (window) => {
    const total = Float32Array.from(await networks[0]!(window))
    for (const network of networks.slice(1)) {
      const more = await network(window)
      for (let at = 0; at < total.length; at++) total[at]! += more[at]!
    }
    return total.map((value) => value / networks.length)
  }
}

/** Weighted logits (K, *patch) of a window on top of sums (K, *padded). */
function add(sums: Float32Array, grid: Grid, corner: Triple, logits: Float32Array, weight: Float32Array, outputs: number): void {
  const [volume, size, width] = [product(grid.padded), weight.length, grid.patch[2]]
  for (let output = 0; output < outputs; output++) {
    windowRows(grid, corner, (inner, outer) => {
      let [from, to] = [output * size + inner, output * volume + outer]
      for (let k = inner; k < inner + width; k++) sums[to++]! += logits[from++]! * weight[k]!
    })
  }
}
