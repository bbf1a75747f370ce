import { expect, test } from 'vitest'
import { inverse, resampleNearest, sameGrid, voxelMl, type Grid } from '../src/logic/grid'

const oblique = [
  [0.8, -0.6, 0, 10],
  [0.6, 0.8, 0, -20],
  [0, 0, 3, 5],
  [0, 0, 0, 1],
]

test('an affine times its inverse changes nothing', () => {
  const back = inverse(oblique)
  const product = oblique.map((row) => [0, 1, 2, 3].map((column) => row.reduce((sum, value, k) => sum + value * back[k]![column]!, 0)))
  product.forEach((row, index) => row.forEach((value, column) => expect(value).toBeCloseTo(index === column ? 1 : 0, 12)))
})

test('a flat affine is refused', () => {
  expect(() => inverse([[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 0, 0], [0, 0, 0, 1]])).toThrow('singular')
})

test('a voxel has its volume in millilitres', () => {
  expect(voxelMl({ dims: [1, 1, 1], affine: oblique })).toBeCloseTo(0.003, 12)
})

test('voxels outside the other grid are background, those within the nearest', () => {
  const from: Grid = { dims: [2, 2, 1], affine: oblique }
  const shifted = oblique.map((row, index) => row.map((value, column) => (column === 3 && index < 3 ? value + oblique[index]![0]! : value)))
  const to: Grid = { dims: [2, 2, 1], affine: shifted }
  expect(sameGrid(from, to)).toBe(false)
  expect([...resampleNearest(Uint8Array.from([1, 2, 3, 4]), from, to)]).toEqual([2, 0, 4, 0])
})
