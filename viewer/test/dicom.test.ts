import { beforeEach, expect, test, vi } from 'vitest'
import { isDicom, niftiOfDicom } from '../src/web/dicom'

/** What stands for dcm2niix: the files that it makes, or why it cannot begin. */
const given = vi.hoisted(() => ({ made: [] as string[], broken: '' }))

vi.mock('@niivue/dcm2niix', () => ({
  Dcm2niix: class {
    worker = Object.assign(new EventTarget(), { terminate: () => undefined })
    init() {
      if (!given.broken) return Promise.resolve(true)
      const event = Object.assign(new Event('message'), { data: { type: 'error', message: given.broken } })
      setTimeout(() => this.worker.dispatchEvent(event))
      return new Promise(() => undefined) // as the package does
    }
    input() {
      const processor = { bids: () => processor, z: () => processor, f: () => processor, run: async () => given.made.map((name) => new File([], name)) }
      return processor
    }
  },
}))

beforeEach(() => Object.assign(given, { made: ['thin_3.nii'], broken: '' }))

/** The beginning of a DICOM file: its header with a version, and the transfer syntax. */
function dicom(name: string, syntax: string): File {
  const text = syntax.padEnd(syntax.length + (syntax.length % 2), '\0')
  const bytes = new Uint8Array(132 + 14 + 8 + text.length + 8)
  const view = new DataView(bytes.buffer)
  const put = (at: number, letters: string) => bytes.set(new TextEncoder().encode(letters), at)
  const tag = (at: number, group: number, element: number) => (view.setUint16(at, group, true), view.setUint16(at + 2, element, true))
  put(128, 'DICM')
  tag(132, 2, 1)
  put(136, 'OB')
  view.setUint32(140, 2, true)
  tag(146, 2, 0x10)
  put(150, 'UI')
  view.setUint16(152, text.length, true)
  put(154, text)
  tag(154 + text.length, 8, 5)
  return new File([bytes], name)
}

const plain = (name: string) => dicom(name, '1.2.840.10008.1.2.1')

test('a folder of a series is its volume', async () => {
  expect(await isDicom([new File(['read me'], 'README'), plain('1')])).toBe(true)
  expect((await niftiOfDicom([plain('1'), new File(['read me'], 'README')])).name).toBe('thin_3.nii')
})

test('a file that dcm2niix would leave out is refused: what is left may be another series', async () => {
  const video = dicom('series/2.dcm', '1.2.840.10008.1.2.4.100')
  await expect(niftiOfDicom([plain('1'), video])).rejects.toThrow(/^series\/2\.dcm .*1\.2\.840\.10008\.1\.2\.4\.100/)
})

test('a converter that cannot begin is told', async () => {
  given.broken = 'the module is not there'
  await expect(niftiOfDicom([plain('1')])).rejects.toThrow('the module is not there')
})

test.each([
  [['thin_3.nii', 'thin_3_Tilt_1.nii'], 'tilted'],
  [['thin_3.nii', 'thin_3_Eq_1.nii'], 'evenly'],
  [['thin_3.nii', 'thick_4.nii'], '2 volumes: thin_3.nii, thick_4.nii'],
  [[], 'no volume'],
])('%j is no scan, and it is said why', async (made, why) => {
  given.made = made
  await expect(niftiOfDicom([plain('1')])).rejects.toThrow(why)
})
