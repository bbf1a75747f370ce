import { fileBeside } from './address'
import { isDicom, niftiOfDicom, refusesDicom } from './dicom'
import { loadNetworks } from './networks'
import type { WebModel } from '../infer/model'
import { readChannels, readNifti, writeMask } from '../infer/nifti'
import { segment } from '../infer/segment'

export interface Request {
  /** Of one scan. */
  files: File[]
  /** The probability from which foreground holds. */
  threshold: number
  /** The model whose labels the page shows. */
  model: WebModel
}

export type Answer =
  | { kind: 'progress'; stage: string; share: number }
  | { kind: 'failed'; error: string }
  | {
      kind: 'finished'
      /** What the page shows: NIfTI, whatever came. */
      scans: File[]
      mask: File
      name: string
      volumesMl: Record<string, number>
      concern: string
      notes: string[]
    }

const tell = (answer: Answer) => self.postMessage(answer)

self.onmessage = ({ data }: MessageEvent<Request>) => {
  compute(data).then(tell, (error: unknown) => tell({ kind: 'failed', error: sentenceOf(error) }))
}

function sentenceOf(error: unknown): string {
  const text = error instanceof Error ? error.message : String(error)
  if (error instanceof RangeError || /memory|bad_alloc/i.test(text)) {
    return `The computation broke off: this browser has too little memory for the scan, it seems (${text}); use vesal predict or vesal serve.`
  }
  return text || 'The computation broke off, and gave no reason.'
}

async function compute({ files, threshold, model: shown }: Request): Promise<Answer> {
  const progress = (stage: string, share: number) => tell({ kind: 'progress', stage, share })
  const model = (await (await fileBeside('model.json')).json()) as WebModel
  if (JSON.stringify(model) !== JSON.stringify(shown)) {
    throw new Error('The model beside this page is another one than when the page was opened; load the page anew.')
  }
  const dicom = await isDicom(files)
  const refused = dicom && refusesDicom(model.plan)
  if (refused) throw new Error(refused)
  const scans = dicom ? [await niftiOfDicom(files)] : files
  const { length: wanted } = model.plan.channels
  if (scans.length !== 1 && scans.length !== wanted) {
    throw new Error(`${scans.length} files were given where the model wants ${wanted === 1 ? 'one' : `${wanted}, one for each channel`}.`)
  }
  progress('Reading', 0)
  const scan = scans.length === 1 ? await readNifti(scans[0]!) : await readChannels(scans)
  progress('Loading the model', 0)
  const { networks, note } = await loadNetworks(model)
  const { mask, volumesMl, concern } = await segment(scan, model, networks, threshold, progress)
  const name = caseName(scans[0]!.name, scans.length > 1)
  return {
    kind: 'finished',
    scans,
    mask: await writeMask(mask, scan, `${name}_mask.nii.gz`),
    name,
    volumesMl,
    concern,
    notes: [note],
  }
}

/** >>> caseName('heart_0001.nii.gz', true) -> 'heart' */
export function caseName(file: string, channels: boolean): string {
  const stem = file.replace(/\.nii(\.gz)?$/i, '')
  return channels ? stem.replace(/_\d{4}$/, '') : stem
}
