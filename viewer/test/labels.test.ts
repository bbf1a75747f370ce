import { expect, test } from 'vitest'
import { colourTable, labelAt, rgb, toSlots, volumesMl } from '../src/logic/labels'

const known = [
  { name: 'background', value: 0, colour: '#000000' },
  { name: 'liver', value: 1, colour: '#ff8000' },
  { name: 'tumour', value: 420, colour: '#0000ff' },
]

test('sparse values become dense slots in the order of the labels', () => {
  const { labels, slots } = toSlots(new Int16Array([0, 1, 420, 420, 0]), known)
  expect([...slots]).toEqual([0, 1, 2, 2, 0])
  expect(labels.map(({ name }) => name)).toEqual(['liver', 'tumour'])
  expect(labelAt(labels, 2)?.name).toBe('tumour')
  expect(labelAt(labels, 0)).toBeNull()
})

test('a value that no label names is seen, too', () => {
  const { labels, slots } = toSlots([0, 7, 1, 7], known)
  expect([...slots]).toEqual([0, 3, 1, 3])
  expect(labels[2]!.name).toBe('value 7')
})

test('stored values are scaled before they are looked up', () => {
  expect([...toSlots([0, 2, 840], known, (value) => value / 2).slots]).toEqual([0, 1, 2])
})

test('a shift holds from the first voxel on', () => {
  expect([...toSlots([0, 0, 419, 0], known, (value) => value + 1).slots]).toEqual([1, 1, 2, 1])
})

test('a picture is not taken for a mask', () => {
  const picture = Float32Array.from({ length: 300 }, (_, index) => index)
  expect(() => toSlots(picture, [])).toThrow('not a mask')
})

test('colours are three numbers, and grey where they are none', () => {
  expect(rgb('#Ff8000')).toEqual([255, 128, 0])
  expect(rgb('red; background: url(x)')).toEqual([160, 160, 160])
})

test('a class that is off is clear, and so is background', () => {
  const table = colourTable(known.slice(1), new Set([420]))
  expect(table.A).toEqual([0, 255, 0])
  expect(table.R).toEqual([0, 255, 0])
  expect(table.I).toEqual([0, 1, 2])
})

test('volumes are voxels times a voxel', () => {
  const read = toSlots([0, 1, 1, 420], known)
  expect(volumesMl(read, 0.5)).toEqual({ liver: 1, tumour: 0.5 })
})
