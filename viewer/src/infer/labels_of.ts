import { type LabelSet, outputsOf, type Plan } from './model'
import { product } from './numbers'
import type { Triple } from './place'
import { sameView } from './resample'

/** For each region the label (counted from 1) that stands for it in a painted map: its first that no later one has. */
export function painted({ labels, regions }: LabelSet): number[] {
  if (regions.length === 0) return labels.map((_, index) => index + 1)
  return regions.map(({ members }, index) => {
    const later = new Set(regions.slice(index + 1).flatMap((region) => region.members))
    const own = labels.findIndex(({ name }) => members.includes(name) && !later.has(name))
    return own + 1
  })
}

/** For each class whether a contiguous value belongs to it. */
export function membersOf({ labels, regions }: LabelSet): boolean[][] {
  const names = regions.length ? regions.map(({ members }) => members) : labels.map(({ name }) => [name])
  return names.map((members) => [false, ...labels.map(({ name }) => members.includes(name))])
}

/**
 * Contiguous labels (*fine) from logits (K, *coarse) over the same field of view, linearly interpolated: the largest
 * class, or the regions over the threshold, painted from outer to inner; `vesal.infer.logits_to_labels`.
 */
export function labelsFromLogits(logits: Float32Array, coarse: Triple, fine: Triple, plan: Plan, threshold: number): Uint8Array {
  const outputs = outputsOf(plan)
  const out = new Uint8Array(product(fine))
  const [x, y, z] = coarse.map((size, axis) => axisOf(size, fine[axis]!)) as [Axis, Axis, Axis]
  const plane = coarse[1] * coarse[2]
  const volume = coarse[0] * plane
  const slab = new Float32Array(outputs * plane)
  const row = new Float32Array(outputs * coarse[2])
  const values = new Float32Array(outputs)
  const choose = chooser(plan.labels, Math.log(threshold) - Math.log1p(-threshold))
  let to = 0
  for (let i = 0; i < fine[0]; i++) {
    for (let output = 0; output < outputs; output++) {
      const [low, high] = [output * volume + x.low[i]! * plane, output * volume + x.high[i]! * plane]
      blend(logits, low, high, x.share[i]!, slab, output * plane, plane)
    }
    for (let j = 0; j < fine[1]; j++) {
      for (let output = 0; output < outputs; output++) {
        const first = output * plane
        blend(slab, first + y.low[j]! * coarse[2], first + y.high[j]! * coarse[2], y.share[j]!, row, output * coarse[2], coarse[2])
      }
      for (let k = 0; k < fine[2]; k++) {
        for (let output = 0; output < outputs; output++) {
          const value = row[output * coarse[2] + z.low[k]!]!
          values[output] = value + (row[output * coarse[2] + z.high[k]!]! - value) * z.share[k]!
        }
        out[to++] = choose(values)
      }
    }
  }
  return out
}

interface Axis {
  low: Int32Array
  high: Int32Array
  share: Float32Array
}

function axisOf(size: number, wanted: number): Axis {
  const at = sameView(size, wanted).map((place) => Math.min(Math.max(place, 0), size - 1))
  const low = Int32Array.from(at, (place, k) => (size === wanted ? k : Math.min(Math.floor(place), Math.max(size - 2, 0))))
  return {
    low,
    high: low.map((index) => Math.min(index + 1, size - 1)),
    share: Float32Array.from(at, (place, k) => (size === wanted ? 0 : place - low[k]!)),
  }
}

function blend(from: Float32Array, low: number, high: number, share: number, into: Float32Array, at: number, count: number): void {
  if (share === 0) {
    into.set(from.subarray(low, low + count), at)
    return
  }
  for (let k = 0; k < count; k++) {
    const value = from[low + k]!
    into[at + k] = value + (from[high + k]! - value) * share
  }
}

function chooser(labels: LabelSet, logit: number): (values: Float32Array) => number {
  if (labels.regions.length) {
    const paint = painted(labels)
    return (values) => {
      let found = 0
      for (let region = 0; region < paint.length; region++) if (values[region]! > logit) found = paint[region]!
      return found
    }
  }
  return (values) => {
    let [best, highest] = [0, values[0]! + logit]
    for (let label = 1; label < values.length; label++) {
      if (values[label]! > highest) [best, highest] = [label, values[label]!]
    }
    return best
  }
}
