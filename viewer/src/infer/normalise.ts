import type { Normalisation } from './model'

/** A spread below this share of where the values lie, or below the second number, is of a constant image. */
const [SMALLEST, LEAST] = [1e-8, 1.2e-38]

/**
 * Turns one channel of file units into network input, in place; `vesal.preprocessing.normalise`.
 *
 * `mask` is of the scheme zscore_mask: voxels where it is 0 stay as they are.
 */
export function normalise(channel: Float32Array, how: Normalisation, mask: Uint8Array | null = null): void {
  const given = (name: 'lower' | 'upper' | 'mean' | 'std') => {
    const value = how[name]
    if (value === null) throw new Error(`The model's normalisation has no ${name}; export it again.`)
    return value
  }
  switch (how.scheme) {
    case 'none':
      return
    case 'zscore': {
      const { mean, std } = moments(channel, () => true)
      standardise(channel, mean, std)
      return
    }
    case 'zscore_nonzero': {
      const inside = channel.map((value) => (value !== 0 ? 1 : 0))
      const { mean, std } = moments(channel, (index) => inside[index] === 1)
      standardise(channel, mean, std)
      for (let k = 0; k < channel.length; k++) channel[k]! *= inside[k]!
      return
    }
    case 'zscore_mask': {
      if (!mask) throw new Error('A z-score within a mask needs the mask.')
      const { mean, std } = moments(channel, (index) => mask[index] === 1)
      standardise(channel, mean, std, mask)
      return
    }
    case 'ct':
      clip(channel, given('lower'), given('upper'))
      standardise(channel, given('mean'), given('std'))
      return
    case 'minmax': {
      const { low, high } = moments(channel, () => true)
      standardise(channel, low, high - low)
      return
    }
    case 'window':
      clip(channel, given('lower'), given('upper'))
      standardise(channel, given('lower'), given('upper') - given('lower'))
      return
    default:
      throw new Error(`This page does not know the normalisation ${how.scheme satisfies never}; export the model again.`)
  }
}

function moments(values: Float32Array, counts: (index: number) => boolean) {
  let [count, sum, squares, low, high] = [0, 0, 0, Infinity, -Infinity]
  let shift: number | null = null
  for (let k = 0; k < values.length; k++) {
    if (!counts(k)) continue
    const value = values[k]!
    // Squares are summed about a value of the data: no cancellation far from zero.
    shift ??= value
    count++
    sum += value - shift
    squares += (value - shift) ** 2
    low = Math.min(low, value)
    high = Math.max(high, value)
  }
  if (shift === null) return { mean: 0, std: 0, low: 0, high: 0 }
  const mean = sum / count
  return { mean: mean + shift, std: Math.sqrt(Math.max(0, squares / count - mean * mean)), low, high }
}

function standardise(channel: Float32Array, centre: number, scale: number, mask: Uint8Array | null = null): void {
  const constant = scale <= Math.max(SMALLEST * Math.abs(centre), LEAST)
  const [away, factor] = [Math.fround(centre), Math.fround(1 / scale)]
  for (let k = 0; k < channel.length; k++) {
    if (!mask || mask[k]) channel[k] = constant ? 0 : Math.fround(channel[k]! - away) * factor
  }
}

function clip(channel: Float32Array, low: number, high: number): void {
  for (let k = 0; k < channel.length; k++) channel[k] = Math.min(Math.max(channel[k]!, low), high)
}
