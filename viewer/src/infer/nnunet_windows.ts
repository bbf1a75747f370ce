import { half, product } from './numbers'
import type { Triple } from './place'
import { corners, eachWindow, type Grid, type Network, windowRows } from './windows'

/** Of the voxel that weighs most, and the deviation of the Gaussian in shares of the window. */
const [LARGEST, SIGMA] = [10, 1 / 8]

/** Windows as nnU-Net weighs them, added up in 16 bits: `vesal.infer.imported_windows.nnunet_windows`. */

/** What a window weighs at its voxels (*patch): a Gaussian around voxel size // 2, rounded to 16 bits, nowhere 0. */
export function nnunetWeight(patch: Triple): Float32Array {
  const [x, y, z] = patch.map((size) =>
    Float64Array.from({ length: size }, (_, k) => Math.exp(-0.5 * ((k - Math.floor(size / 2)) / (SIGMA * size)) ** 2)),
  ) as [Float64Array, Float64Array, Float64Array]
  const found = new Float32Array(product(patch))
  let at = 0
  for (const a of x) for (const b of y) for (const c of z) found[at++] = half(a * b * c * LARGEST)
  const least = found.reduce((one, other) => (other > 0 ? Math.min(one, other) : one), Infinity)
  return found.map((value) => value || least)
}

/** Mean logits (K, *padded) of networks on a padded image, one network after the other. */
export async function nnunetLogits(
  networks: Network[],
  image: Float32Array[],
  grid: Grid,
  outputs: number,
  progress: (share: number) => void,
): Promise<Float32Array> {
  const weight = nnunetWeight(grid.patch)
  const size = product(grid.padded)
  const total = new Float32Array(size)
  const ones = new Float32Array(weight.length).fill(1)
  for (const corner of corners(grid)) addIn16Bits(total, grid, corner, ones, weight, 1)
  const count = networks.length
  let mean: Float32Array | null = null
  for (const [number, network] of networks.entries()) {
    const sums = new Float32Array(outputs * size)
    const add = (logits: Float32Array, corner: Triple) => addIn16Bits(sums, grid, corner, logits, weight, outputs)
    await eachWindow(network, image, grid, add, (share) => progress((number + share) / count))
    for (let at = 0; at < sums.length; at++) sums[at] = half(sums[at]! / total[at % size]!)
    if (mean) for (let at = 0; at < sums.length; at++) mean[at] = half(mean[at]! + sums[at]!)
    else mean = sums
  }
  if (count > 1) for (let at = 0; at < mean!.length; at++) mean![at] = half(mean![at]! / count)
  return mean!
}

/** Weighted values (K, *patch) of a window on top of sums (K, *padded), which are rounded to 16 bits. */
function addIn16Bits(
  sums: Float32Array,
  grid: Grid,
  corner: Triple,
  values: Float32Array,
  weight: Float32Array,
  outputs: number,
): void {
  const [volume, size, width] = [product(grid.padded), weight.length, grid.patch[2]]
  for (let output = 0; output < outputs; output++) {
    windowRows(grid, corner, (inner, outer) => {
      let [from, to] = [output * size + inner, output * volume + outer]
      for (let k = inner; k < inner + width; k++, from++, to++) {
        sums[to] = half(Math.fround(values[from]! * weight[k]!) + sums[to]!)
      }
    })
  }
}
