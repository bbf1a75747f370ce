/** Grids of voxels: an affine takes voxel indices to millimetres (right, anterior, superior), as in NIfTI. */

export type Affine = number[][]

export interface Grid {
  /** Voxels along the three axes as they are stored, the first one fastest. */
  dims: [number, number, number]
  affine: Affine
}

const TOLERANCE_MM = 1e-3

/** A voxel's volume in millilitres. */
export function voxelMl({ affine }: Grid): number {
  return Math.abs(determinant(affine)) / 1000
}

/** Whether two grids are the same one, to a thousandth of a millimetre. */
export function sameGrid(one: Grid, other: Grid): boolean {
  return (
    one.dims.every((size, axis) => size === other.dims[axis]) &&
    [0, 1, 2].every((row) =>
      [0, 1, 2, 3].every((column) => Math.abs(at(one.affine, row, column) - at(other.affine, row, column)) < TOLERANCE_MM),
    )
  )
}

/** The slots of one grid at the voxels of another, by the nearest voxel; 0 outside. */
export function resampleNearest(slots: Uint8Array, from: Grid, to: Grid): Uint8Array {
  if (sameGrid(from, to)) return slots
  const step = multiply(inverse(from.affine), to.affine)
  const [sizeX, sizeY, sizeZ] = from.dims
  const [countX, countY, countZ] = to.dims
  const out = new Uint8Array(countX * countY * countZ)
  let index = 0
  for (let k = 0; k < countZ; k++) {
    for (let j = 0; j < countY; j++) {
      const [startX, startY, startZ] = [0, 1, 2].map(
        (row) => at(step, row, 1) * j + at(step, row, 2) * k + at(step, row, 3),
      ) as [number, number, number]
      for (let i = 0; i < countX; i++, index++) {
        const x = Math.round(startX + at(step, 0, 0) * i)
        const y = Math.round(startY + at(step, 1, 0) * i)
        const z = Math.round(startZ + at(step, 2, 0) * i)
        if (x >= 0 && y >= 0 && z >= 0 && x < sizeX && y < sizeY && z < sizeZ) {
          out[index] = slots[x + sizeX * (y + sizeY * z)]!
        }
      }
    }
  }
  return out
}

function at(matrix: Affine, row: number, column: number): number {
  return matrix[row]![column]!
}

function determinant(a: Affine): number {
  const minor = (r: number, s: number, c: number, d: number) => at(a, r, c) * at(a, s, d) - at(a, r, d) * at(a, s, c)
  return at(a, 0, 0) * minor(1, 2, 1, 2) - at(a, 0, 1) * minor(1, 2, 0, 2) + at(a, 0, 2) * minor(1, 2, 0, 1)
}

/** The inverse of an affine; throws an Error for one that folds space flat. */
export function inverse(a: Affine): Affine {
  const scale = determinant(a)
  if (!Number.isFinite(scale) || scale === 0) throw new Error("This file's affine is singular; its voxels have no place in space.")
  const rows = [0, 1, 2].map((row) =>
    [0, 1, 2].map((column) => {
      // The cofactor of the transposed place, with its sign by cyclic indices.
      const [r, s] = [(column + 1) % 3, (column + 2) % 3]
      const [c, d] = [(row + 1) % 3, (row + 2) % 3]
      return (at(a, r, c) * at(a, s, d) - at(a, r, d) * at(a, s, c)) / scale
    }),
  )
  const withShift = rows.map((row) => [...row, -row.reduce((sum, value, axis) => sum + value * at(a, axis, 3), 0)])
  return [...withShift, [0, 0, 0, 1]]
}

function multiply(one: Affine, other: Affine): Affine {
  return [0, 1, 2, 3].map((row) =>
    [0, 1, 2, 3].map((column) => [0, 1, 2, 3].reduce((sum, k) => sum + at(one, row, k) * at(other, k, column), 0)),
  )
}
