import { decompressAsync, isCompressed, isNIFTI, NIFTI1, NIFTI2, readHeader, readImage } from 'nifti-reader-js'
import { product } from './numbers'
import { type Affine, type Triple } from './place'
import type { Scan } from './prepare'

/** A scan with the header of its file, which its mask takes over: it lies where the scan does for every reader. */
export interface NiftiScan extends Scan {
  header: ArrayBuffer
}

const READERS: Record<number, (buffer: ArrayBuffer) => ArrayLike<number | bigint>> = {
  2: (buffer) => new Uint8Array(buffer),
  4: (buffer) => new Int16Array(buffer),
  8: (buffer) => new Int32Array(buffer),
  16: (buffer) => new Float32Array(buffer),
  64: (buffer) => new Float64Array(buffer),
  256: (buffer) => new Int8Array(buffer),
  512: (buffer) => new Uint16Array(buffer),
  768: (buffer) => new Uint32Array(buffer),
  1024: (buffer) => new BigInt64Array(buffer),
  1280: (buffer) => new BigUint64Array(buffer),
}
/** Bytes before the voxels of a file without extensions, by the size of its header. */
const OFFSET: Record<number, number> = { 348: 352, 540: 544 }
const [UINT8, INT16, INT32] = [2, 4, 8]

/** Reads a volume, of one channel or several. Throws an Error that names the file. */
export async function readNifti(file: File): Promise<NiftiScan> {
  const refuse = (why: string) => new Error(`${file.name} ${why}`)
  let data = await file.arrayBuffer()
  try {
    if (isCompressed(data)) data = await decompressAsync(data)
  } catch {
    throw refuse('is damaged: it cannot be unpacked. Copy or download it again.')
  }
  const header = isNIFTI(data) ? readHeader(data) : null
  if (!header) throw refuse('is no NIfTI file; give .nii or .nii.gz, or a folder of DICOM.')
  const sizes = header.dims.slice(1, 1 + header.dims[0]!)
  while (sizes.length > 3 && sizes[sizes.length - 1] === 1) sizes.pop()
  if (sizes.length === 5 && sizes[3] === 1) sizes.splice(3, 1)
  if (sizes.length < 3 || sizes.length > 4) throw refuse(`has ${sizes.length} axes; give a volume.`)
  const shape = sizes.slice(0, 3) as Triple
  const size = product(shape)
  const count = sizes[3] ?? 1
  const reader = READERS[header.datatypeCode]
  if (!reader) throw refuse('holds numbers of a kind that no scan has; convert it to integers or real numbers.')
  const bytes = swapped(readImage(header, data), header.numBitsPerVoxel / 8, header.littleEndian)
  if (bytes.byteLength < (size * count * header.numBitsPerVoxel) / 8) throw refuse('is cut off; copy or download it again.')
  const values = reader(bytes)
  const scale = scaleOf(header)
  const channels = Array.from({ length: count }, (_, channel) => {
    const found = new Float32Array(size)
    for (let at = 0; at < size; at++) found[at] = scale(Number(values[channel * size + at]))
    return found
  })
  return { shape, affine: affineOf(header, new DataView(data)), channels, header: data.slice(0, header instanceof NIFTI2 ? 540 : 348) }
}

/** Several files of one channel each, on one grid, as one scan. */
export async function readChannels(files: File[]): Promise<NiftiScan> {
  const scans: NiftiScan[] = []
  for (const file of files) scans.push(await readNifti(file))
  const first = scans[0]!
  scans.forEach(({ shape, affine }, index) => {
    const away = Math.max(...affine.flatMap((row, i) => row.map((value, j) => Math.abs(value - first.affine[i]![j]!))))
    if (String(shape) !== String(first.shape) || away > 1e-2) {
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
  const offset = OFFSET[size]!
  const bits = { [UINT8]: 8, [INT16]: 16, [INT32]: 32 }[code]!
  const out = new Uint8Array(offset + (mask.length * bits) / 8)
  out.set(new Uint8Array(header))
  describe(new DataView(out.buffer), size === 540, shape, code, bits, offset)
  const voxels = code === UINT8 ? Uint8Array.from(mask) : code === INT16 ? Int16Array.from(mask) : mask
  const little = new DataView(header).getInt32(0, true) === size
  out.set(new Uint8Array(swapped(voxels.buffer, bits / 8, little)), offset)
  const packed = new Blob([out]).stream().pipeThrough(new CompressionStream('gzip'))
  return new File([await new Response(packed).blob()], name, { type: 'application/gzip' })
}

/** Makes a scan's header that of its label map; the place stays, byte for byte. */
function describe(view: DataView, two: boolean, shape: Triple, code: number, bits: number, offset: number): void {
  const little = view.getInt32(0, true) === (two ? 540 : 348)
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
  view.setUint32(two ? 540 : 348, 0)
}

type Header = NIFTI1 | NIFTI2

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
  const turn = [
    [a * a + b * b - c * c - d * d, 2 * (b * c - a * d), 2 * (b * d + a * c)],
    [2 * (b * c + a * d), a * a + c * c - b * b - d * d, 2 * (c * d - a * b)],
    [2 * (b * d - a * c), 2 * (c * d + a * b), a * a + d * d - b * b - c * c],
  ]
  const steps = [1, 2, 3].map((axis) => Math.abs(header.pixDims[axis]!) || 1)
  if (header.pixDims[0]! < 0) steps[2]! *= -1
  const away = [header.qoffset_x, header.qoffset_y, header.qoffset_z]
  return [...turn.map((row, i) => [...row.map((value, j) => value * steps[j]!), away[i]!]), [0, 0, 0, 1]]
}

/** Whether an affine places voxels: finite, and its axes span the space. */
function places(affine: Affine): boolean {
  const [[a, b, c], [d, e, f], [g, h, i]] = affine as [Triple, Triple, Triple]
  const volume = a * (e * i - f * h) - b * (d * i - f * g) + c * (d * h - e * g)
  const sizes = Math.hypot(a, d, g) * Math.hypot(b, e, h) * Math.hypot(c, f, i)
  return Number.isFinite(volume) && sizes > 1e-27 && Math.abs(volume) >= 1e-6 * sizes
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
