import type { Plan } from '../infer/model'

/** Where the letters DICM stand in a file with a preamble. */
const MAGIC = 128

/** Whether files are DICOM rather than NIfTI, by their first bytes; none of them need end in .dcm. */
export async function isDicom(files: File[]): Promise<boolean> {
  for (const file of files) {
    if (/\.nii(\.gz)?$/i.test(file.name)) return false
    const head = await file.slice(MAGIC, MAGIC + 4).text()
    if (head === 'DICM') return true
  }
  return false
}

/** Whether a model takes it: dcm2niix stores axes otherwise than `vesal predict` reads them, which some models see. */
export function takesDicom({ as_stored }: Plan): boolean {
  return !as_stored
}

/**
 * The one volume of a folder of DICOM, as NIfTI, by dcm2niix.
 *
 * Throws an Error where there is none, or several: with the names of what there is.
 */
export async function niftiOfDicom(files: File[]): Promise<File> {
  const { Dcm2niix } = await import('@niivue/dcm2niix')
  const converter = new Dcm2niix()
  await converter.init()
  let found: File[]
  try {
    found = await converter.input(files).bids('n').z('n').f('%d_%s').run()
  } catch (error) {
    throw new Error(`The DICOM files cannot be read as a volume (${(error as Error).message}).`)
  } finally {
    converter.worker?.terminate()
  }
  const volumes = found.filter(({ name }) => /\.nii(\.gz)?$/i.test(name))
  if (volumes.length === 1) return volumes[0]!
  const names = volumes.map(({ name }) => name).join(', ')
  throw new Error(
    volumes.length
      ? `The folder holds ${volumes.length} volumes: ${names}; give the folder of one series.`
      : 'The files hold no volume; give a folder with all slices of a series.',
  )
}
