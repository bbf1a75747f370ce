import type { Label } from '../api/types'

/** Truth against prediction, on one grid and with one list of labels. */

/** The difference as a mask of its own; from Okabe and Ito, told apart by the colour-blind, too. */
export const DIFFERENCE_LABELS: Label[] = [
  { name: 'agreement', value: 1, colour: '#009e73' },
  { name: 'only truth', value: 2, colour: '#56b4e9' },
  { name: 'only prediction', value: 3, colour: '#d55e00' },
  { name: 'another class', value: 4, colour: '#f0e442' },
]

/**
 * Voxel by voxel: 0 neither, 1 agreement, 2 only truth, 3 only prediction, 4 both but of different classes.
 *
 * `seen[slot]` tells which classes count; all others are background. Where it is one class, there is no 4.
 */
export function differenceVolume(truth: Uint8Array, prediction: Uint8Array, seen: boolean[]): Uint8Array {
  const out = new Uint8Array(truth.length)
  const counts = Uint8Array.from({ length: 256 }, (_, slot) => (slot > 0 && seen[slot] ? slot : 0))
  for (let index = 0; index < out.length; index++) {
    const one = counts[truth[index]!]!
    const other = counts[prediction[index]!]!
    if (one === other) out[index] = one ? 1 : 0
    else if (!other) out[index] = 2
    else out[index] = one ? 4 : 3
  }
  return out
}

export interface Overlap {
  truthVoxels: number
  predictionVoxels: number
  /** 2 |A and B| / (|A| + |B|); null where both are empty. */
  dice: number | null
}

/** The overlap of each label, in the order of the slots 1 ... `count`. */
export function overlaps(truth: Uint8Array, prediction: Uint8Array, count: number): Overlap[] {
  const [inTruth, inPrediction, inBoth] = [0, 1, 2].map(() => new Float64Array(256)) as [
    Float64Array,
    Float64Array,
    Float64Array,
  ]
  for (let index = 0; index < truth.length; index++) {
    const [one, other] = [truth[index]!, prediction[index]!]
    inTruth[one]!++
    inPrediction[other]!++
    if (one === other) inBoth[one]!++
  }
  return Array.from({ length: count }, (_, index) => {
    const slot = index + 1
    const both = inTruth[slot]! + inPrediction[slot]!
    return {
      truthVoxels: inTruth[slot]!,
      predictionVoxels: inPrediction[slot]!,
      dice: both ? (2 * inBoth[slot]!) / both : null,
    }
  })
}
