import { expect, test } from 'vitest'
import { CT_WINDOWS, firstPreset, isCt, limits, percentile, percentileWindow, presets, sortedSample, windowOf } from '../src/logic/windows'

test('a window is its level plus and minus half its width', () => {
  expect(limits(CT_WINDOWS['lung']!)).toEqual([-1350, 150])
  expect(windowOf(-1350, 150)).toEqual(CT_WINDOWS['lung'])
})

test('percentiles are those of the sorted values', () => {
  const values = Array.from({ length: 101 }, (_, index) => index)
  expect(percentile(values, 0)).toBe(0)
  expect(percentile(values, 50)).toBe(50)
  expect(percentileWindow(values, [5, 95])).toEqual({ level: 50, width: 90 })
  expect(percentile([], 50)).toBe(0)
})

test('a scan of one value has a window all the same', () => {
  expect(percentileWindow([7, 7, 7], [1, 99]).width).toBe(1)
})

test('the sample takes real values, sorted, without those that are none', () => {
  expect([...sortedSample([3, 1, NaN, 2], (value) => value * 2 - 1)]).toEqual([1, 3, 5])
  expect(sortedSample(new Float32Array(1_000_000), (value) => value).length).toBe(200_000)
})

test('a CT is known by its model, else by air', () => {
  const chest = sortedSample([-1000, -990, -800, 40, 60, 700], (value) => value)
  expect(isCt('', chest)).toBe(true)
  expect(isCt('MR', chest)).toBe(false)
  expect(firstPreset('', [0, 10, 500])).toBe('1–99 %')
  expect(firstPreset('CT', [0, 10, 500])).toBe('soft tissue')
})

test('every scan has the six presets of CT and three by share', () => {
  expect(Object.keys(presets([1, 2, 3]))).toEqual([
    'soft tissue', 'lung', 'bone', 'brain', 'liver', 'mediastinum', '1–99 %', '5–95 %', 'full range',
  ])
})
