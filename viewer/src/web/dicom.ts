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

/** Why a model takes none, in a sentence; '' where it does. */
export function refusesDicom({ as_stored, channels }: Plan): string {
  // dcm2niix stores axes otherwise than `vesal predict` reads them.
  if (as_stored) return 'This model sees a scan as its file stores it, which DICOM leaves open; give NIfTI files as those of its training.'
  // Of one series it may make several volumes: phases, say, which are no channels.
  if (channels.length > 1) return `This model wants ${channels.length} channels (${channels.join(', ')}), and this page takes DICOM of one; give a NIfTI file for each.`
  return ''
}

/** Transfer syntaxes that dcm2niix decodes. Files of others it leaves out, and makes of a folder what is left. */
const DECODED = new Set([
  ...['', '.1', '.2', '.5'].map((end) => `1.2.840.10008.1.2${end}`),
  ...['50', '51', '57', '70', '80', '81', '90', '91', '201', '203'].map((end) => `1.2.840.10008.1.2.4.${end}`),
  '1.3.46.670589.33.1.4.1',
])
/** A file's own header, in which the transfer syntax stands, begins behind the letters DICM; so many bytes hold it. */
const [HEADER, HEADER_BYTES] = [MAGIC + 4, 1024]
/** Value representations whose length takes four bytes. */
const LONG = new Set(['OB', 'OW', 'OF', 'OD', 'OL', 'SQ', 'UC', 'UN', 'UR', 'UT'])

/** The transfer syntax (its UID) that a file says it has; '' where it says none. */
async function transferSyntax(file: File): Promise<string> {
  const bytes = new Uint8Array(await file.slice(0, HEADER_BYTES).arrayBuffer())
  const view = new DataView(bytes.buffer)
  const text = (from: number, to: number) => String.fromCharCode(...bytes.subarray(from, to))
  if (text(MAGIC, HEADER) !== 'DICM') return ''
  let at = HEADER
  while (at + 12 <= bytes.length && view.getUint16(at, true) === 2) {
    const long = LONG.has(text(at + 4, at + 6))
    const start = at + (long ? 12 : 8)
    const stop = start + (long ? view.getUint32(at + 8, true) : view.getUint16(at + 6, true))
    if (view.getUint16(at + 2, true) === 0x10) return text(start, stop).replace(/[\0 ]+$/, '')
    at = stop
  }
  return ''
}

/**
 * The one volume of a folder of DICOM, as NIfTI, by dcm2niix.
 *
 * Throws an Error where there is none, or several, or one whose slices are no even stack.
 */
export async function niftiOfDicom(files: File[]): Promise<File> {
  for (const file of files) {
    const syntax = await transferSyntax(file)
    if (syntax && !DECODED.has(syntax)) {
      throw new Error(`${file.name} is packed in a way that this page does not read (transfer syntax ${syntax}); unpack the series, as by gdcmconv --raw.`)
    }
  }
  const volumes = (await converted(files)).filter(({ name }) => /\.nii(\.gz)?$/i.test(name))
  if (volumes.length === 1) return volumes[0]!
  const names = volumes.map(({ name }) => name)
  // Beside a stack that is not even dcm2niix puts one that it made even.
  const stored = names.filter((name) => !/_(Eq|Tilt)_\d+\.nii$/.test(name))
  if (stored.length > 1) throw new Error(`The folder holds ${stored.length} volumes: ${stored.join(', ')}; give the folder of one series.`)
  if (names.some((name) => name.includes('_Tilt_'))) {
    throw new Error('The slices are tilted against their stack (by the gantry), which this page does not take; use vesal predict or vesal serve.')
  }
  if (names.length) throw new Error('The slices are not evenly spaced: some are missing, or there twice; give each slice of the series once.')
  throw new Error('The files hold no volume; give a folder with all slices of a series.')
}

async function converted(files: File[]): Promise<File[]> {
  const { Dcm2niix } = await import('@niivue/dcm2niix')
  const converter = new Dcm2niix()
  try {
    const ready = converter.init()
    await Promise.race([ready, failure(converter.worker!)])
    return await converter.input(files).bids('n').z('n').f('%d_%s').run()
  } catch (error) {
    throw new Error(`The DICOM files cannot be read as a volume (${(error as Error).message}); copy or export the series again, or give NIfTI.`)
  } finally {
    converter.worker?.terminate()
  }
}

/** Rejects when the converter's worker tells of an error: until it is ready, nobody else hears that. */
function failure(worker: Worker): Promise<never> {
  return new Promise((_, reject) => {
    worker.addEventListener('message', ({ data }: MessageEvent<{ type?: string; message?: string }>) => {
      if (data.type === 'error') reject(new Error(data.message))
    })
  })
}
