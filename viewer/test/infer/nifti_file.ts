export interface Given {
  little?: boolean
  sform?: number
  qform?: number
  slope?: number
  frames?: number
}

/** A file of 2 x 3 x 2 voxels of 16 bits, 0, 1, 2, ... */
export function nifti({ little = true, sform = 1, qform = 0, slope = 0, frames = 1 }: Given = {}): Uint8Array<ArrayBuffer> {
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

export const file = (bytes: Uint8Array<ArrayBuffer>, name = 'a.nii') => new File([bytes], name)
