import { type Axes, axesOf, between, type Grids, planes } from './between_grids'
import { type LabelSet, outputsOf, type Plan } from './model'
import { half } from './numbers'

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
 * Contiguous labels (*fine) from logits (K, *coarse), linearly interpolated: the largest class, or the regions over the
 * threshold, painted from outer to inner; `vesal.infer.logits_to_labels`. By MONAI's rules, with `steps`, probabilities
 * are interpolated; by nnU-Net's, classes are compared in 16 bits.
 */
export function labelsFromLogits(logits: Float32Array, grids: Grids, plan: Plan, threshold: number): Uint8Array {
  const { fine, steps } = grids
  const outputs = outputsOf(plan)
  const regions = plan.labels.regions.length > 0
  const values = steps ? probabilities(logits, outputs, regions, threshold) : logits
  const logit = Math.fround(Math.log(threshold) - Math.log1p(-threshold))
  const limit = !steps ? logit : regions ? Math.fround(threshold) : 0
  const axes = axesOf(grids)
  const [x, y, z] = axes
  const sure = regions ? null : agreed(values, outputs, axes, limit)
  const choose = regions ? highest(painted(plan.labels), limit) : largest(limit, plan.rules === 'nnunet')
  const rows = planes(values, outputs, axes)
  const area = fine[1] * fine[2]
  const found = new Float32Array(outputs)
  const out = new Uint8Array(area * fine[0])
  let to = 0
  for (let i = 0; i < fine[0]; i++) {
    const [low, high, share] = [rows(x.low[i]!), rows(x.high[i]!), x.share[i]!]
    for (let j = 0, at = 0; j < fine[1]; j++) {
      const cell = (x.low[i]! * y.size + y.low[j]!) * z.size
      for (let k = 0; k < fine[2]; k++, at++) {
        const known = sure ? sure[cell + z.low[k]!]! : UNDECIDED
        if (known !== UNDECIDED) out[to++] = known
        else {
          for (let output = 0, from = at; output < outputs; output++, from += area) {
            found[output] = between(low[from]!, high[from]!, share)
          }
          out[to++] = choose(found)
        }
      }
    }
  }
  return out
}

/** Stands for no class. */
const UNDECIDED = 255

/** Of each cell, by its lower corner, the class that is the largest at all corners, and so within; UNDECIDED of others. */
function agreed(values: Float32Array, outputs: number, [x, y, z]: Axes, bias: number): Uint8Array {
  const volume = x.size * y.size * z.size
  const choose = largest(bias, false)
  const own = new Float32Array(outputs)
  const found = new Uint8Array(volume)
  for (let at = 0; at < volume; at++) {
    for (let output = 0; output < outputs; output++) own[output] = values[output * volume + at]!
    found[at] = choose(own)
  }
  // In place, axis by axis: what lies behind a voxel is not changed before it.
  const compare = (step: 0 | 1, distance: number) => {
    if (step) for (let at = 0; at + distance < volume; at++) if (found[at] !== found[at + distance]) found[at] = UNDECIDED
  }
  compare(z.step, 1)
  compare(y.step, z.size)
  compare(x.step, y.size * z.size)
  return found
}

/** Softmax over (K, ...) logits, that of the background times the threshold's odds; of regions the sigmoid of each. */
function probabilities(logits: Float32Array, outputs: number, regions: boolean, threshold: number): Float32Array {
  if (regions) return logits.map((value) => Math.fround(Math.fround(0.5 * Math.fround(Math.tanh(0.5 * value))) + 0.5))
  const size = logits.length / outputs
  const odds = Math.fround(threshold / (1 - threshold))
  const found = new Float32Array(logits.length)
  for (let at = 0; at < size; at++) {
    let most = -Infinity
    for (let from = at; from < logits.length; from += size) most = Math.max(most, logits[from]!)
    let sum = 0
    for (let from = at; from < logits.length; from += size) {
      found[from] = Math.exp(Math.fround(logits[from]! - most))
      sum = Math.fround(sum + found[from]!)
    }
    for (let from = at; from < logits.length; from += size) found[from]! /= sum
    found[at]! *= odds
  }
  return found
}

/** The region that is painted last of those over a limit. */
function highest(paint: number[], limit: number): (values: Float32Array) => number {
  return (values) => {
    let found = 0
    for (let region = 0; region < paint.length; region++) if (values[region]! > limit) found = paint[region]!
    return found
  }
}

/** The class with the largest value, of equal ones the lowest; something is added to that of the background. */
function largest(bias: number, in16Bits: boolean): (values: Float32Array) => number {
  const rounded = in16Bits ? half : (value: number) => value
  return (values) => {
    let [best, most] = [0, Math.fround(rounded(values[0]!) + bias)]
    for (let label = 1; label < values.length; label++) {
      const value = rounded(values[label]!)
      if (value > most) [best, most] = [label, value]
    }
    return best
  }
}
