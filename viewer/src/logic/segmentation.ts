import type { Label } from '../api/types'
import { DIFFERENCE_LABELS, differenceVolume, overlaps, type Overlap } from './difference'
import { resampleNearest, voxelMl, type Grid } from './grid'
import { volumesMl, type Slots } from './labels'

/** A mask as it was read: its classes, its voxels, its place. */
export interface Mask extends Slots {
  name: string
  grid: Grid
}

export type Shown = 'prediction' | 'truth' | 'difference'

/**
 * Prediction and truth on one grid (the prediction's, where there is one) and with one list of classes.
 *
 * `labels` holds all of them; truth is read after the prediction, so that its slots continue the prediction's.
 */
export class Segmentation {
  readonly grid: Grid
  labels: Label[]
  private truth: Uint8Array | null = null
  private prediction: Uint8Array | null = null
  private ofModel = 0
  private counted: Record<string, number> | null = null

  constructor(mask: Mask, role: 'prediction' | 'truth') {
    this.grid = mask.grid
    this.labels = mask.labels
    if (role === 'truth') this.truth = mask.slots
    else this.setPrediction(mask)
  }

  private setPrediction(mask: Mask): void {
    this.prediction = mask.slots
    this.ofModel = mask.labels.length
  }

  setTruth(mask: Mask): void {
    this.truth = resampleNearest(mask.slots, mask.grid, this.grid)
    this.labels = mask.labels
    this.counted = null
  }

  get hasBoth(): boolean {
    return this.truth !== null && this.prediction !== null
  }

  /** The classes of what is drawn. */
  drawnLabels(shown: Shown): Label[] {
    return shown === 'difference' && this.hasBoth ? DIFFERENCE_LABELS : this.labels
  }

  /** The voxels to draw and their colours. `compared` is the value of one class, or null for all. */
  drawn(shown: Shown, compared: number | null): { slots: Uint8Array; labels: Label[] } {
    const { truth, prediction } = this
    if (shown === 'difference' && truth && prediction) {
      const seen = [false, ...this.labels.map(({ value }) => compared === null || value === compared)]
      return { slots: differenceVolume(truth, prediction, seen), labels: DIFFERENCE_LABELS }
    }
    return { slots: (shown === 'truth' ? truth : prediction) ?? prediction ?? truth!, labels: this.labels }
  }

  /** Per class in the order of `labels`; empty where there is no truth or no prediction. */
  overlaps(): Overlap[] {
    return this.truth && this.prediction ? overlaps(this.truth, this.prediction, this.labels.length) : []
  }

  /** By the class's name, counted in the voxels. */
  volumes(): Record<string, number> {
    this.counted ??= volumesMl({ labels: this.labels, slots: this.prediction ?? this.truth! }, voxelMl(this.grid))
    return this.counted
  }

  /** Whether the model itself has classes with these names; a truth's own come after them. */
  isOfModel(index: number): boolean {
    return this.prediction === null || index < this.ofModel
  }
}
