import type { Model } from '../api/types'

/** `vesal.planning.plan.Normalisation`. */
export interface Normalisation {
  scheme: 'zscore' | 'zscore_nonzero' | 'zscore_mask' | 'ct' | 'minmax' | 'window' | 'none'
  lower: number | null
  upper: number | null
  mean: number | null
  std: number | null
}

/** `vesal.data.labels.LabelSet`: contiguous value i + 1 is `labels[i]`. */
export interface LabelSet {
  labels: { name: string; value: number }[]
  background: number
  /** Overlapping outputs, outer before inner; empty for plain classes. */
  regions: { name: string; members: string[] }[]
}

/** What prediction needs of `vesal.planning.plan.Plan`. */
export interface Plan {
  dimension: 2 | 3
  /** Whose preparation, windows and restoring are followed where they differ. */
  rules: 'vesal' | 'nnunet' | 'monai'
  /** Which axis of a scan each axis of the prepared array is; null for x, y, z. */
  axis_order: number[] | null
  /** A scan's axes are taken as its file stores them, not turned to RAS+. */
  as_stored: boolean
  slice_axis: 0 | 1 | 2 | null
  spacing_mm: number[]
  keeps_spacing: boolean
  patch: number[]
  normalisation: Normalisation[]
  crop_to_nonzero: boolean
  image_order: 0 | 1 | 3
  blocks: boolean
  overlap: number
  blend: 'gaussian' | 'constant'
  channels: string[]
  foreground_channel: boolean
  labels: LabelSet
  margin_mm: number
  label_sizes: [number, number] | null
  label_gaps_mm: number[] | null
}

/** A step of `vesal.infer.postprocess`. */
export interface Step {
  do: 'largest' | 'min_size' | 'min_volume' | 'fill_holes'
  /** A class; null is all foreground together. */
  of: string | null
  mm3: number
  voxels: number
}

/** One stage: a preparation, and the networks that vote on what it gives. */
export interface StageModel {
  plan: Plan
  /** Files beside model.json: ONNX, (N, C, *patch) -> logits (N, K, *patch). */
  networks: string[]
}

/** model.json, as `vesal export --to web` writes it. */
export interface WebModel extends StageModel {
  version: 1
  /** As the page shows it. */
  shown: Model
  /** Voxels of the training's scans along the network's axes, on the grid of the plan. */
  usual_shape: number[]
  temperature: number
  postprocess: Step[]
  /** Finds where in the scan `networks` look; null looks everywhere. */
  locator: StageModel | null
}

/** How many outputs the networks of a plan have: background and classes, or regions. */
export function outputsOf({ labels }: Plan): number {
  return labels.regions.length || labels.labels.length + 1
}
