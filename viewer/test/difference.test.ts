import { expect, test } from 'vitest'
import { differenceVolume, overlaps } from '../src/logic/difference'
import { Segmentation } from '../src/logic/segmentation'

//                         agree, missed, invented, confused, none
const truth = Uint8Array.from([1, 1, 0, 1, 0])
const prediction = Uint8Array.from([1, 0, 2, 2, 0])

test('each voxel is agreement, only truth, only prediction, or another class', () => {
  expect([...differenceVolume(truth, prediction, [false, true, true])]).toEqual([1, 2, 3, 4, 0])
})

test('of one class alone there are three colours', () => {
  expect([...differenceVolume(truth, prediction, [false, true, false])]).toEqual([1, 2, 0, 2, 0])
  expect([...differenceVolume(truth, prediction, [false, false, true])]).toEqual([0, 0, 3, 3, 0])
})

test('Dice is twice the common part by the sum of both', () => {
  const [one, two, three] = overlaps(truth, prediction, 3)
  expect(one).toEqual({ truthVoxels: 3, predictionVoxels: 1, dice: 0.5 })
  expect(two!.dice).toBe(0)
  expect(three!.dice).toBeNull()
})

const identity = [
  [1, 0, 0, 0],
  [0, 1, 0, 0],
  [0, 0, 1, 0],
  [0, 0, 0, 1],
]
const grid = { dims: [5, 1, 1] as [number, number, number], affine: identity }
const labels = [
  { name: 'a', value: 1, colour: '#ff0000' },
  { name: 'b', value: 2, colour: '#00ff00' },
]

test('a truth that is turned by another affine is laid on the grid of the prediction', () => {
  const both = new Segmentation({ name: 'p', grid, labels, slots: prediction }, 'prediction')
  expect(both.hasBoth).toBe(false)
  const mirrored = identity.map((row, index) => (index === 0 ? [-1, 0, 0, 4] : row))
  both.setTruth({ name: 't', grid: { ...grid, affine: mirrored }, labels, slots: truth.slice().reverse() })
  expect(both.overlaps()[0]!.dice).toBe(0.5)
  expect([...both.drawn('truth', null).slots]).toEqual([...truth])
  expect([...both.drawn('difference', 1).slots]).toEqual([1, 2, 0, 2, 0])
})

test('without a truth the prediction is drawn whatever is asked for', () => {
  const alone = new Segmentation({ name: 'p', grid, labels, slots: prediction }, 'prediction')
  expect(alone.drawn('difference', null).slots).toBe(prediction)
  expect(alone.volumes()).toEqual({ a: 0.001, b: 0.002 })
})
