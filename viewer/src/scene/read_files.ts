import { cmapper, NVImage } from '@niivue/niivue'
import type { Label } from '../api/types'
import type { Grid } from '../logic/grid'
import { colourTable, toSlots } from '../logic/labels'
import type { Mask } from '../logic/segmentation'

const UINT8 = 2
const INTENT_LABEL = 1002
/** NiiVue's types of images that have a number at each voxel. */
const COLOURED = new Set([128, 2304])

/** A file as NiiVue reads it; throws an Error that names it. */
export async function readImage(file: File): Promise<NVImage> {
  let image: NVImage | null = null
  try {
    image = await NVImage.loadFromFile({ file, name: file.name })
  } catch {
    // Told below, in our words.
  }
  if (!image?.hdr || !image.img) {
    throw new Error(`${file.name} cannot be read as an image; give NIfTI (.nii, .nii.gz), NRRD or MetaImage (.mha).`)
  }
  return image
}

/** An image that holds a mask, with the mask. */
export interface MaskImage {
  image: NVImage
  mask: Mask
}

/** A mask; `known` are the classes that its values stand for. */
export async function readMask(file: File, known: Label[]): Promise<MaskImage> {
  const image = await readImage(file)
  const header = image.hdr!
  if (COLOURED.has(header.datatypeCode)) throw new Error(`${file.name} holds colours, not the values of a mask.`)
  const slope = header.scl_slope || 1
  const values = image.img!.subarray(0, image.nVox3D ?? image.img!.length)
  let slots
  try {
    slots = toSlots(values, known, (value) => value * slope + header.scl_inter)
  } catch (error) {
    throw new Error(`${file.name}: ${(error as Error).message}`)
  }
  return { image, mask: { name: file.name, grid: gridOf(image), ...slots } }
}

export function gridOf(image: NVImage): Grid {
  const { dims, affine } = image.hdr!
  return { dims: [dims[1]!, dims[2]!, dims[3]!], affine: affine.map((row) => [...row]) }
}

/** Makes `image` a label map of these slots, in these colours. */
export function paintSlots(image: NVImage, slots: Uint8Array, labels: Label[], off: ReadonlySet<number>): void {
  const header = image.hdr!
  header.datatypeCode = UINT8
  header.numBitsPerVoxel = 8
  header.intent_code = INTENT_LABEL
  header.scl_slope = 1
  header.scl_inter = 0
  image.img = slots
  image.frame4D = 0
  image.colormapLabel = cmapper.makeLabelLut(colourTable(labels, off))
}
