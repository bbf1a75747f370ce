import { expect, test } from 'vitest'
import { readChannels, readNifti, writeMask } from '../../src/infer/nifti'
import { half, roundEven } from '../../src/infer/numbers'

interface Given {
  little?: boolean
  sform?: number
  qform?: number
  slope?: number
  frames?: number
}

/** A file of 2 x 3 x 2 voxels of 16 bits, 0, 1, 2, ... */
function nifti({ little = true, sform = 1, qform = 0, slope = 0, frames = 1 }: Given = {}): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(352 + 24 * frames)
  const view = new DataView(bytes.buffer)
  const short = (at: number, value: number) => view.setInt16(at, value, little)
  const float = (at: number, ...values: number[]) => values.forEach((value, k) => view.setFloat32(at + 4 * k, value, little))
  view.setInt32(0, 348, little)
  ;[frames > 1 ? 4 : 3, 2, 3, 2, frames, 1, 1, 1].forEach((value, k) => short(40 + 2 * k, value))
  short(70, 4)
  short(72, 16)
  float(76, 1, 1.5, 2, 2.5, 1, 1, 1, 1)
  float(108, 352, slope, 10)
  short(252, qform)
  short(254, sform)
  float(256, 0, 0, 0, 4, 5, 6)
  float(280, -1.5, 0, 0, 7, 0, 2, 0, 8, 0, 0, 2.5, 9)
  bytes.set([0x6e, 0x2b, 0x31, 0], 344)
  for (let k = 0; k < 12 * frames; k++) short(352 + 2 * k, k)
  return bytes
}

const file = (bytes: Uint8Array<ArrayBuffer>, name = 'a.nii') => new File([bytes], name)

test('the voxels and the place of a file are read, whatever its order of bytes', async () => {
  for (const little of [true, false]) {
    const { shape, affine, channels } = await readNifti(file(nifti({ little })))
    expect(shape).toEqual([2, 3, 2])
    expect(affine).toEqual([
      [-1.5, 0, 0, 7],
      [0, 2, 0, 8],
      [0, 0, 2.5, 9],
      [0, 0, 0, 1],
    ])
    expect(channels.map((channel) => [...channel])).toEqual([[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11]])
  }
})

test('a packed file with a scale and frames has channels', async () => {
  const stream = new Blob([nifti({ slope: 2, frames: 2 })]).stream().pipeThrough(new CompressionStream('gzip'))
  const packed = new Uint8Array(await new Response(stream).arrayBuffer())
  const { channels } = await readNifti(file(packed, 'a.nii.gz'))
  expect(channels.length).toBe(2)
  expect([...channels[1]!.subarray(0, 2)]).toEqual([34, 36])
})

test('the place follows the qform, or the sizes alone', async () => {
  // Also where its code is the lower one.
  expect((await readNifti(file(nifti({ sform: 1, qform: 2 })))).affine[0]).toEqual([-1.5, 0, 0, 7])
  const quaternion = await readNifti(file(nifti({ sform: 0, qform: 1 })))
  expect(quaternion.affine[0]).toEqual([1.5, 0, 0, 4])
  const sizes = await readNifti(file(nifti({ sform: 0 })))
  expect(sizes.affine).toEqual([
    [-1.5, 0, 0, 0.75],
    [0, 2, 0, -2],
    [0, 0, 2.5, -1.25],
    [0, 0, 0, 1],
  ])
})

test('a mask lies on the scan byte for byte, and holds its values', async () => {
  for (const [little, values] of [[true, [0, 7, 255]], [false, [0, -3, 300]], [true, [0, 70000, 1]]] as const) {
    const scan = await readNifti(file(nifti({ little, slope: 2, frames: 2 })))
    const mask = Int32Array.from({ length: 12 }, (_, k) => values[k % 3]!)
    const written = await writeMask(mask, scan, 'mask.nii.gz')
    const again = await readNifti(written)
    expect([...again.channels[0]!]).toEqual([...mask])
    expect(again.channels.length).toBe(1)
    expect(new Uint8Array(again.header.slice(252, 328))).toEqual(new Uint8Array(scan.header.slice(252, 328)))
    expect(new Uint8Array(again.header.slice(76, 92))).toEqual(new Uint8Array(scan.header.slice(76, 92)))
  }
})

test('what is no scan, or cut off, is named', async () => {
  await expect(readNifti(file(new Uint8Array(400), 'b.nii'))).rejects.toThrow('b.nii is no NIfTI file')
  await expect(readNifti(file(nifti().slice(0, 360), 'c.nii'))).rejects.toThrow('c.nii is cut off')
  await expect(readNifti(file(new Uint8Array([0x1f, 0x8b, 8, 0, 1]), 'd.nii.gz'))).rejects.toThrow('d.nii.gz')
})

test('channels lie on one grid', async () => {
  const both = await readChannels([file(nifti()), file(nifti(), 'b.nii')])
  expect(both.channels.length).toBe(2)
  const other = nifti()
  new DataView(other.buffer).setFloat32(292, 70, true)
  await expect(readChannels([file(nifti()), file(other, 'b.nii')])).rejects.toThrow('b.nii lies on another grid')
})

test('numbers are rounded as numpy does', () => {
  expect([0.5, 1.5, 2.5, -0.5, 2.4].map(roundEven)).toEqual([0, 2, 2, 0, 2])
  expect([1.00049, 1 + 2 ** -11, 1 + 3 * 2 ** -11, 65519, 65520, 2 ** -25, 3 * 2 ** -25, -0.1].map(half)).toEqual([
    1 + 2 ** -10, 1, 1 + 2 ** -9, 65504, Infinity, 0, 2 ** -23, -0.0999755859375,
  ])
})
