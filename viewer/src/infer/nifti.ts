import { decompressAsync, isCompressed, isNIFTI, isNIFTI1, NIFTI1, NIFTI2, readHeader } from 'nifti-reader-js'
import { product } from './numbers'
import { type Affine, apartMm, spacingOf, type Triple } from './place'
import type { Scan } from './prepare'

/** A scan with the header of its file, which its mask takes over: it lies where the scan does for every reader. */
export interface NiftiScan extends Scan {
  header: ArrayBuffer
}

interface Numbers {
  new (buffer: ArrayBuffer): ArrayLike<number | bigint>
  readonly BYTES_PER_ELEMENT: number
}

/** By the code of their kind. */
const NUMBERS: Record<number, Numbers> = {
  2: Uint8Array,
  4: Int16Array,
  8: Int32Array,
  16: Float32Array,
  64: Float64Array,
  256: Int8Array,
  512: Uint16Array,
  768: Uint32Array,
  1024: BigInt64Array,
  1280: BigUint64Array,
}
/** Bytes of a header. */
const [ONE, TWO] = [348, 540]
const [UINT8, INT16, INT32] = [2, 4, 8]
/** Channels whose grids part by less at the farthest corner are on one grid: mm, and shares of a voxel. */
const [TOLERANCE_MM, TOLERANCE_VOXELS] = [1e-3, 0.01]

/** Reads a volume, of one channel or several. Throws an Error that names the file. */
export async function readNifti(file: File): Promise<NiftiScan> {
  const refuse = (why: string) => new Error(`${file.name} ${why}`)
  let data = await file.arrayBuffer()
  try {
    if (isCompressed(data)) data = await decompressAsync(data)
  } catch {
    throw refuse('is damaged: it cannot be unpacked. Copy or download it again.')
  }
  const header = headerOf(data)
  if (!header) throw refuse('is no NIfTI file; give .nii or .nii.gz, or a folder of DICOM.')
  const sizes = header.dims.slice(1, 1 + header.dims[0]!)
  while (sizes.length > 3 && sizes[sizes.length - 1] === 1) sizes.pop()
  if (sizes.length === 5 && sizes[3] === 1) sizes.splice(3, 1)
  if (sizes.length < 3 || sizes.length > 4) throw refuse(`has ${sizes.length} axes; give a volume.`)
  const none = sizes.find((voxels) => voxels < 1)
  if (none !== undefined) throw refuse(`has an axis of ${none} voxels; write it again.`)
  const shape = sizes.slice(0, 3) as Triple
  const size = product(shape)
  const count = sizes[3] ?? 1
  const kind = NUMBERS[header.datatypeCode]
  if (!kind) throw refuse('holds numbers of a kind that no scan has; convert it to integers or real numbers.')
  const bytes = kind.BYTES_PER_ELEMENT
  const start = Math.max(Math.trunc(header.vox_offset), behind(sizeOf(header)))
  const stop = start + size * count * bytes
  if (!(stop <= data.byteLength)) throw refuse('is cut off; copy or download it again.')
  const values = new kind(swapped(data.slice(start, stop), bytes, header.littleEndian))
  const scale = scaleOf(header)
  const channels = Array.from({ length: count }, (_, channel) => {
    const found = new Float32Array(size)
    for (let at = 0; at < size; at++) found[at] = scale(Number(values[channel * size + at]))
    return found
  })
  return { shape, affine: affineOf(header, new DataView(data)), channels, header: data.slice(0, sizeOf(header)) }
}

/** Without the extensions that may follow it: they are nothing to us, and may be damaged. */
function headerOf(data: ArrayBuffer): Header | null {
  try {
    return isNIFTI(data) ? readHeader(data.slice(0, isNIFTI1(data) ? ONE : TWO)) : null
  } catch {
    return null
  }
}

/** Several files of one channel each, on one grid, as one scan. */
export async function readChannels(files: File[]): Promise<NiftiScan> {
  const scans: NiftiScan[] = []
  for (const file of files) scans.push(await readNifti(file))
  const first = scans[0]!
  const most = Math.max(TOLERANCE_MM, TOLERANCE_VOXELS * Math.min(...spacingOf(first.affine)))
  scans.forEach(({ shape, affine }, index) => {
    if (String(shape) !== String(first.shape) || !(apartMm(affine, first.affine, shape) <= most)) {
      throw new Error(`${files[index]!.name} lies on another grid than ${files[0]!.name}; all channels of a scan lie on one.`)
    }
  })
  return { ...first, channels: scans.flatMap(({ channels }) => channels) }
}

/** The file (.nii.gz) of a label map on the grid of a scan. */
export async function writeMask(mask: Int32Array, { header, shape }: NiftiScan, name: string): Promise<File> {
  const [low, high] = mask.reduce(([least, most], value) => [Math.min(least, value), Math.max(most, value)], [0, 0])
  const code = low >= 0 && high < 256 ? UINT8 : low >= -32768 && high < 32768 ? INT16 : INT32
  const size = header.byteLength
  const offset = behind(size)
  const bits = { [UINT8]: 8, [INT16]: 16, [INT32]: 32 }[code]!
  const out = new Uint8Array(offset + (mask.length * bits) / 8)
  out.set(new Uint8Array(header))
  describe(new DataView(out.buffer), size === TWO, shape, code, bits, offset)
  const voxels = code === UINT8 ? Uint8Array.from(mask) : code === INT16 ? Int16Array.from(mask) : mask
  const little = new DataView(header).getInt32(0, true) === size
  out.set(new Uint8Array(swapped(voxels.buffer, bits / 8, little)), offset)
  const packed = new Blob([out]).stream().pipeThrough(new CompressionStream('gzip'))
  return new File([await new Response(packed).blob()], name, { type: 'application/gzip' })
}

/** Makes a scan's header that of its label map; the place stays, byte for byte. */
function describe(view: DataView, two: boolean, shape: Triple, code: number, bits: number, offset: number): void {
  const little = view.getInt32(0, true) === (two ? TWO : ONE)
  const size = (at: number, value: number) => (two ? view.setBigInt64(at, BigInt(value), little) : view.setInt16(at, value, little))
  const real = (at: number, value: number) => (two ? view.setFloat64(at, value, little) : view.setFloat32(at, value, little))
  const [dims, step] = two ? [16, 8] : [40, 2]
  ;[3, ...shape, 1, 1, 1, 1].forEach((value, index) => size(dims + index * step, value))
  view.setInt16(two ? 12 : 70, code, little)
  view.setInt16(two ? 14 : 72, bits, little)
  if (two) view.setBigInt64(168, BigInt(offset), little)
  else view.setFloat32(108, offset, little)
  real(two ? 176 : 112, 1) // scl_slope
  real(two ? 184 : 116, 0) // scl_inter
  real(two ? 192 : 124, 0) // cal_max
  real(two ? 200 : 128, 0) // cal_min
  // What follows the header in the scan's file does not follow here.
  view.setUint32(two ? TWO : ONE, 0)
}

type Header = NIFTI1 | NIFTI2

function sizeOf(header: Header): number {
  return header instanceof NIFTI2 ? TWO : ONE
}

/** Where voxels begin behind a header of so many bytes, without extensions. */
function behind(size: number): number {
  return size + 4
}

/** The place by the rule of `vesal.volume.formats.nifti`: sform, else qform, else the voxel sizes. */
function affineOf(header: Header, data: DataView): Affine {
  const rows = sformOf(header, data)
  if (header.sform_code > 0 && places(rows)) return rows
  const form = quaternionAffine(header)
  if (header.qform_code > 0 && places(form)) return form
  const steps = [1, 2, 3].map((axis) => Math.abs(header.pixDims[axis]!) || 1)
  const middle = [1, 2, 3].map((axis, index) => -((header.dims[axis]! - 1) / 2) * steps[index]!)
  return [
    [-steps[0]!, 0, 0, -middle[0]!],
    [0, steps[1]!, 0, middle[1]!],
    [0, 0, steps[2]!, middle[2]!],
    [0, 0, 0, 1],
  ]
}

/** The sform as it stands in the file: the reader gives the qform where its code is higher. */
function sformOf(header: Header, data: DataView): Affine {
  const two = header instanceof NIFTI2
  const at = (index: number) =>
    two ? data.getFloat64(400 + 8 * index, header.littleEndian) : data.getFloat32(280 + 4 * index, header.littleEndian)
  return [...[0, 4, 8].map((row) => [0, 1, 2, 3].map((column) => at(row + column))), [0, 0, 0, 1]]
}

function quaternionAffine(header: Header): Affine {
  const [b, c, d] = [header.quatern_b, header.quatern_c, header.quatern_d]
  const a = Math.sqrt(Math.max(0, 1 - (b * b + c * c + d * d)))
  // One that is longer than 1 counts as a unit.
  const length = a * a + b * b + c * c + d * d
  const turn = [
    [a * a + b * b - c * c - d * d, 2 * (b * c - a * d), 2 * (b * d + a * c)],
    [2 * (b * c + a * d), a * a + c * c - b * b - d * d, 2 * (c * d - a * b)],
    [2 * (b * d - a * c), 2 * (c * d + a * b), a * a + d * d - b * b - c * c],
  ]
  const steps = [1, 2, 3].map((axis) => Math.abs(header.pixDims[axis]!) || 1)
  if (header.pixDims[0]! < 0) steps[2]! *= -1
  const away = [header.qoffset_x, header.qoffset_y, header.qoffset_z]
  return [...turn.map((row, i) => [...row.map((value, j) => (value / length) * steps[j]!), away[i]!]), [0, 0, 0, 1]]
}

/** Whether an affine places voxels: finite, and its axes span the space. */
function places(affine: Affine): boolean {
  const [[a, b, c], [d, e, f], [g, h, i]] = affine as [Triple, Triple, Triple]
  const volume = a * (e * i - f * h) - b * (d * i - f * g) + c * (d * h - e * g)
  const sizes = Math.hypot(a, d, g) * Math.hypot(b, e, h) * Math.hypot(c, f, i)
  return affine.flat().every(Number.isFinite) && sizes > 1e-27 && Math.abs(volume) >= 1e-6 * sizes
}

function scaleOf({ scl_slope: slope, scl_inter: given }: Header): (value: number) => number {
  const shift = Number.isFinite(given) ? given : 0
  if (!slope || !Number.isFinite(slope)) return (value) => value
  return (value) => value * slope + shift
}

/** In this machine's order of bytes, which is little-endian wherever browsers run. */
function swapped(data: ArrayBufferLike, width: number, little: boolean): ArrayBuffer {
  if (little || width === 1) return data as ArrayBuffer
  const bytes = new Uint8Array(data.slice(0))
  for (let at = 0; at + width <= bytes.length; at += width) bytes.subarray(at, at + width).reverse()
  return bytes.buffer as ArrayBuffer
}
