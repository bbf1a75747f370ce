import { labelsFromLogits, membersOf } from './labels_of'
import { cutByScan, findPlace, foreground, nearerThanLabels, reachesBorder, recentred } from './locate'
import type { Plan, WebModel } from './model'
import { product } from './numbers'
import { type Box, type Crop, cropShape, eachVoxel, voxelMm3 } from './place'
import { postprocess } from './postprocess'
import { everywhere, type Prepared, prepare, type Scan } from './prepare'
import { scanNote } from './scan_notes'
import { predictLogits } from './window_sums'
import type { Network } from './windows'

/** Looks that are taken after the first. */
const MOST_LOOKS = 4
/** A result is to be reviewed that is smaller or larger than every label of the training by more than this factor. */
const VOLUME_FACTOR = 1.5
/** The whole scan is searched where less is found than this share of the smallest label of the training. */
const NEARLY_NOTHING = 0.1

export interface Segmented {
  /** Of the scan's shape and order of memory: the label values of the training files. */
  mask: Int32Array
  /** Class -> millilitres. */
  volumesMl: Record<string, number>
  /** Why the case is to be reviewed; '' without a reason. */
  concern: string
}

/** The networks of both stages, of which those of each vote. */
export interface Networks {
  fine: Network[]
  locator: Network[] | null
}

/** Told what is being done and how far it is, 0..1. */
export type Progress = (stage: string, share: number) => void

/** Segments a scan as `vesal predict` does, in one stage or two. */
export async function segment(scan: Scan, model: WebModel, networks: Networks, threshold: number, progress: Progress): Promise<Segmented> {
  const passage = new Passage(scan, model, networks, threshold, progress)
  const { mask, prepared, concern } = await (model.locator ? passage.located(model.locator.plan) : passage.whole())
  const reasons = [scanNote(scan, model, prepared.crop.shape), concern]
  return { ...decoded(mask, scan, model.plan), concern: reasons.filter(Boolean).join('; ') }
}

interface Found {
  /** Contiguous labels of the whole scan. */
  mask: Uint8Array
  prepared: Prepared
  size: number
  concern: string
}

class Passage {
  private readonly plan: Plan
  private readonly voxel: number

  constructor(
    private readonly scan: Scan,
    private readonly model: WebModel,
    private readonly networks: Networks,
    private readonly threshold: number,
    private readonly progress: Progress,
  ) {
    this.plan = model.plan
    this.voxel = voxelMm3(scan.affine)
  }

  async whole(): Promise<Found> {
    return this.look(prepare(this.scan, this.plan))
  }

  /** `vesal.infer.box_search.search_box`, after the coarse network's look. */
  async located(coarse: Plan): Promise<Found> {
    const { image, crop } = prepare(this.scan, coarse)
    const logits = await predictLogits(this.networks.locator!, image, crop.shape, coarse, (share) => this.progress('Looking for the place', share))
    const place = findPlace(foreground(logits, coarse), crop, this.plan.margin_mm)
    const whole = everywhere(this.scan)
    const first = prepare(this.scan, this.plan, place.box ?? whole)
    let found = await this.settled(first)
    let searched = ''
    const sizes = this.plan.label_sizes
    if (sizes && found.size < NEARLY_NOTHING * sizes[0]) {
      const all = prepare(this.scan, this.plan, whole)
      if (!samePlace(all.crop, first.crop)) {
        searched = 'next to nothing was found where the coarse network saw it, so the whole scan was searched'
        const again = await this.settled(all)
        if (again.size > found.size) found = again
      }
    }
    const reasons = [place.concern, searched, found.concern, sizeConcern(found.size, this.plan)]
    return { ...found, concern: reasons.filter(Boolean).join('; ') }
  }

  /** Segments a box, and again the box of what was found there, until that stays where it is. */
  private async settled(first: Prepared): Promise<Found> {
    let prepared = first
    let looks = 0
    let found = await this.look(prepared)
    for (; looks < MOST_LOOKS; looks++) {
      const box: Box | null = recentred(this.inside(found), prepared.crop, this.plan)
      if (!box) break
      const again = prepare(this.scan, this.plan, box)
      if (samePlace(again.crop, prepared.crop)) break
      prepared = again
      found = await this.look(prepared)
    }
    const inside = this.inside(found)
    const size = inside.reduce((sum, one) => sum + one, 0) * this.voxel
    let concern = ''
    if (looks === MOST_LOOKS && reachesBorder(inside, prepared.crop)) {
      concern = 'what was found reaches the border of the box that was searched'
    } else if (cutByScan(inside, prepared.crop)) concern = 'what was found is cut by the border of the scan'
    else if (nearerThanLabels(inside, prepared.crop, this.plan.label_gaps_mm)) {
      concern = 'what was found lies nearer to the border of the scan than any label of the training'
    }
    return { ...found, size, concern }
  }

  private async look(prepared: Prepared): Promise<Found> {
    const { image, crop } = prepared
    const logits = await predictLogits(this.networks.fine, image, crop.shape, this.plan, (share) => this.progress('Segmenting', share))
    // At one half the temperature changes no label, but where probabilities are interpolated.
    if (this.threshold !== 0.5 || crop.steps) for (let k = 0; k < logits.length; k++) logits[k]! /= this.model.temperature
    const labels = labelsFromLogits(logits, { ...crop, coarse: crop.shape, fine: cropShape(crop) }, this.plan, this.threshold)
    const mask = new Uint8Array(product(this.scan.shape))
    eachVoxel(crop, (from, to) => (mask[from] = labels[to]!))
    postprocess(mask, this.scan.shape, this.model.postprocess, this.plan.labels, this.voxel)
    return { mask, prepared, size: 0, concern: '' }
  }

  private inside({ mask, prepared }: Found): Uint8Array {
    const found = new Uint8Array(product(cropShape(prepared.crop)))
    eachVoxel(prepared.crop, (from, to) => (found[to] = Number(mask[from] !== 0)))
    return found
  }
}

/** Why foreground of this size (mm³) is to be reviewed, or ''. */
export function sizeConcern(found: number, { label_sizes: sizes }: Plan): string {
  if (!sizes) return ''
  const [low, high] = sizes
  if (!found) return low ? 'nothing was found' : ''
  if (low / VOLUME_FACTOR <= found && found <= high * VOLUME_FACTOR) return ''
  const ml = (mm3: number) => Number((mm3 / 1000).toPrecision(3))
  return `what was found has ${ml(found)} ml, the labels of the training ${ml(low)} to ${ml(high)}`
}

/** Contiguous labels -> the values of the training files, and the millilitres of each class. */
function decoded(mask: Uint8Array, scan: Scan, { labels }: Plan): Pick<Segmented, 'mask' | 'volumesMl'> {
  const values = [labels.background, ...labels.labels.map(({ value }) => value)]
  const counts = values.map(() => 0)
  for (const value of mask) counts[value]!++
  const ml = voxelMm3(scan.affine) / 1000
  const names = (labels.regions.length ? labels.regions : labels.labels).map(({ name }) => name)
  const volumes = membersOf(labels).map((members) => counts.reduce((sum, count, value) => sum + (members[value] ? count : 0), 0) * ml)
  return {
    mask: Int32Array.from(mask, (value) => values[value]!),
    volumesMl: Object.fromEntries(names.map((name, index) => [name, volumes[index]!])),
  }
}

function samePlace(one: Crop, other: Crop): boolean {
  return String([one.start, one.stop]) === String([other.start, other.stop])
}
