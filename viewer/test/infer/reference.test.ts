import { expect, test } from 'vitest'
import { labelsFromLogits } from '../../src/infer/labels_of'
import { findPlace, foreground, nearerThanLabels, recentred } from '../../src/infer/locate'
import type { Normalisation, Plan, Step, WebModel } from '../../src/infer/model'
import { normalise } from '../../src/infer/normalise'
import { type Affine, type Box, spacingOf, type Triple, turnToRas, voxelMm3 } from '../../src/infer/place'
import { postprocess } from '../../src/infer/postprocess'
import { patchInScan, prepare, type Scan } from '../../src/infer/prepare'
import { blockMeans, resize } from '../../src/infer/resample'
import { segment } from '../../src/infer/segment'
import { predictLogits, windowWeights } from '../../src/infer/window_sums'
import { type Network, windowStarts } from '../../src/infer/windows'
import stored from './reference.json'

// What Vesal itself computes of the same numbers: write_reference.py.
interface Reference {
  turns: { affine: Affine; order: number[]; flips: boolean[]; spacing: number[]; mm3: number }[]
  resize: { shape: Triple; array: number[]; results: { order: 0 | 1 | 3 | 'blocks'; to: Triple; values: number[] }[] }[]
  normalise: { array: number[]; results: { how: Normalisation; values: number[] }[] }[]
  prepare: {
    plan: Plan
    affine: Affine
    shape: Triple
    channels: number[][]
    box: Box | null
    image: number[][]
    crop: { start: number[]; stop: number[]; shape: number[]; nearest_axis: number | null }
    steps: number[] | null
    patch_in_scan: number[]
  }[]
  windows: {
    starts: { size: number; window: number; overlap: number; starts: number[] }[]
    weights: number[][]
    shape: Triple
    image: number[]
    logits: { plan: Plan; networks: number; logits: number[] }[]
  }
  labels: {
    plan: Plan
    logits: number[]
    coarse: Triple
    fine: Triple
    nearest_axis: number | null
    steps: Triple | null
    threshold: number
    labels: number[]
  }[]
  postprocess: { plan: Plan; steps: Step[]; shape: Triple; before: number[]; after: number[] }[]
  locate: {
    coarse: Plan
    fine: Plan
    affine: Affine
    shape: Triple
    channels: number[][]
    logits: number[]
    probability: number[]
    box: Box | null
    concern: string
    mask: number[]
    recentred: Box | null
    gaps: number[][]
    near: boolean[]
  }[]
  segment: { plan: Plan; networks: number; affine: Affine; shape: Triple; channels: number[][]; mask: number[] }[]
}
const reference = stored as unknown as Reference

function near(found: ArrayLike<number>, wanted: number[], tolerance = 2e-5): void {
  expect(found.length).toBe(wanted.length)
  const most = wanted.reduce((high, value) => Math.max(high, Math.abs(value)), 1)
  wanted.forEach((value, at) => {
    if (!(Math.abs(found[at]! - value) <= tolerance * most)) throw new Error(`${found[at]} at ${at} where ${value} is wanted`)
  })
}

function scanOf({ shape, affine, channels }: { shape: Triple; affine: Affine; channels: number[][] }): Scan {
  return { shape, affine, channels: channels.map((channel) => Float32Array.from(channel)) }
}

test.each(reference.turns)('a grid is turned to RAS as nibabel does', ({ affine, order, flips, spacing, mm3 }) => {
  expect(turnToRas(affine)).toEqual({ order, flips })
  near(spacingOf(affine), spacing)
  expect(voxelMm3(affine)).toBeCloseTo(mm3, 6)
})

test('an image is resampled alike', () => {
  for (const { shape, array, results } of reference.resize) {
    for (const { order, to, values } of results) {
      const image = Float32Array.from(array)
      near(order === 'blocks' ? blockMeans(image, shape, to) : resize(image, shape, to, order), values)
    }
  }
})

test('intensities are normalised alike', () => {
  for (const { array, results } of reference.normalise) {
    for (const { how, values } of results) {
      const channel = Float32Array.from(array)
      normalise(channel, how)
      near(channel, values)
    }
  }
})

test.each(reference.prepare)('a scan is prepared alike', (given) => {
  const { image, crop } = prepare(scanOf(given), given.plan, given.box)
  expect({ start: crop.start, stop: crop.stop, shape: crop.shape, nearest_axis: crop.nearestAxis }).toEqual(given.crop)
  near(crop.steps ?? [], given.steps ?? [])
  expect(patchInScan(given.plan, crop)).toEqual(given.patch_in_scan)
  expect(image.length).toBe(given.image.length)
  // Half a step of 16 bits, in which Vesal keeps an image.
  image.forEach((channel, index) => near(channel, given.image[index]!, given.plan.rules === 'vesal' ? 6e-4 : 5e-6))
})

test('windows lie and weigh alike', () => {
  for (const { size, window, overlap, starts } of reference.windows.starts) expect(windowStarts(size, window, overlap)).toEqual(starts)
  windowWeights(11, 6, windowStarts(11, 6, 0.5)).forEach((weight, index) => near(weight, reference.windows.weights[index]!))
})

/** Those of write_reference.py. */
function networksOf({ patch }: Plan, count: number): Network[] {
  const row = patch[patch.length - 1]!
  const parts = (window: Float32Array) => {
    const rolled = window.map((_, at) => window[at % row ? at - 1 : at + row - 1]!)
    return [window.map((value) => 0.125 * value), window.map((value, at) => value - 0.5 * rolled[at]!), rolled.map((value) => 0.5 * value - 0.25)]
  }
  const joined = (channels: Float32Array[]) => Float32Array.from(channels.flatMap((channel) => [...channel]))
  const network: Network = async (window) => joined(parts(window))
  const other: Network = async (window) => {
    const [first, ...rest] = parts(window) as [Float32Array, ...Float32Array[]]
    return joined([...rest, first])
  }
  return [network, other, network].slice(0, count)
}

test.each(reference.windows.logits)('logits of windows are summed alike', async ({ plan, networks, logits }) => {
  const { shape, image } = reference.windows
  let told = 0
  const found = await predictLogits(networksOf(plan, networks), [Float32Array.from(image)], shape, plan, (share) => (told = share))
  // What is rounded to 16 bits is the same to the bit: seven digits are stored.
  near(found, logits, plan.rules === 'nnunet' ? 6e-7 : 2e-6)
  expect(told).toBe(1)
})

test.each(reference.labels)('logits become labels alike', ({ plan, logits, coarse, fine, nearest_axis, steps, threshold, labels }) => {
  const grids = { coarse, fine, nearestAxis: nearest_axis, steps }
  expect([...labelsFromLogits(Float32Array.from(logits), grids, plan, threshold)]).toEqual(labels)
})

test.each(reference.postprocess)('label maps are post-processed alike', ({ plan, steps, shape, before, after }) => {
  const map = Uint8Array.from(before)
  postprocess(map, shape, steps, plan.labels, 2.5)
  expect([...map]).toEqual(after)
  expect(after).not.toEqual(before)
})

test.each(reference.locate)('the place is found alike', (given) => {
  const { crop } = prepare(scanOf(given), given.coarse)
  const probability = foreground(Float32Array.from(given.logits), given.coarse)
  near(probability, given.probability)
  expect(findPlace(probability, crop, 1.5)).toEqual({ box: given.box, concern: given.concern })
  expect(recentred(given.mask, crop, given.fine)).toEqual(given.recentred)
  expect(given.gaps.map((gaps) => nearerThanLabels(given.mask, crop, gaps))).toEqual(given.near)
  expect(new Set(given.near).size).toBe(2)
  expect(nearerThanLabels(given.mask, crop, null)).toBe(false)
})

test.each(reference.segment)("a scan is segmented alike by other programs' rules", async (given) => {
  const model = { plan: given.plan, usual_shape: given.shape.slice(-given.plan.dimension), postprocess: [], temperature: 1, locator: null } as unknown as WebModel
  const networks = { fine: networksOf(given.plan, given.networks), locator: null }
  const { mask } = await segment(scanOf(given), model, networks, 0.5, () => undefined)
  expect([...mask]).toEqual(given.mask)
  expect(new Set(mask).size).toBeGreaterThan(2)
})
