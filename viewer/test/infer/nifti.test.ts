import { expect, test } from 'vitest'
import { readChannels, readNifti, writeMask } from '../../src/infer/nifti'
import { half, roundEven } from '../../src/infer/numbers'
import { file, type Given, nifti } from './nifti_file'

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

/** The file with other bytes in its header. */
function changed(change: (view: DataView) => void, given: Given = {}): File {
  const bytes = nifti(given)
  change(new DataView(bytes.buffer))
  return file(bytes)
}

test('voxels begin behind the header, also where the file says that they begin before', async () => {
  for (const offset of [0, 348, 352]) {
    const { channels } = await readNifti(changed((view) => view.setFloat32(108, offset, true)))
    expect([...channels[0]!.subarray(0, 3)]).toEqual([0, 1, 2])
  }
  await expect(readNifti(changed((view) => view.setFloat32(108, NaN, true)))).rejects.toThrow('a.nii is cut off')
})

test('the size of a voxel is that of its kind', async () => {
  const { channels } = await readNifti(changed((view) => view.setInt16(72, 8, true)))
  expect([...channels[0]!.subarray(9)]).toEqual([9, 10, 11])
})

test('extensions are passed over, damaged and absent ones too', async () => {
  for (const length of [0, 7, 1 << 30]) {
    const bytes = new Uint8Array(nifti().length + 16)
    bytes.set(nifti().subarray(0, 352))
    bytes.set(nifti().subarray(352), 368)
    const view = new DataView(bytes.buffer)
    view.setFloat32(108, 368, true)
    view.setUint8(348, 1)
    view.setInt32(352, length, true)
    const { channels } = await readNifti(file(bytes))
    expect([...channels[0]!.subarray(0, 3)]).toEqual([0, 1, 2])
  }
})

test('a header that cannot be is told with the name of its file', async () => {
  await expect(readNifti(changed((view) => view.setInt16(44, 0, true)))).rejects.toThrow('a.nii has an axis of 0 voxels')
  await expect(readNifti(changed((view) => view.setInt16(44, -3, true)))).rejects.toThrow('a.nii has an axis of -3 voxels')
  await expect(readNifti(changed((view) => view.setInt32(0, 7, true)))).rejects.toThrow('a.nii is no NIfTI file')
})

test('a form with a number that is none gives way, and a quaternion that is too long counts as one of length 1', async () => {
  const offset = await readNifti(changed((view) => view.setFloat32(292, NaN, true), { qform: 1 }))
  expect(offset.affine[0]).toEqual([1.5, 0, 0, 4])
  const turned = changed((view) => view.setFloat32(256, 1.25, true), { sform: 0, qform: 1 })
  expect((await readNifti(turned)).affine).toEqual([
    [1.5, 0, 0, 4],
    [0, -2, 0, 5],
    [0, 0, -2.5, 6],
    [0, 0, 0, 1],
  ])
})

test('channels that part at the farthest corner alone are on two grids', async () => {
  const skewed = changed((view) => view.setFloat32(300, 2.009, true))
  await expect(readChannels([file(nifti()), skewed])).rejects.toThrow('lies on another grid')
  const rounded = changed((view) => view.setFloat32(300, 2.001, true))
  expect((await readChannels([file(nifti()), rounded])).channels.length).toBe(2)
})
