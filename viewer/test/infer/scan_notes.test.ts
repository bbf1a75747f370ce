import { expect, test } from 'vitest'
import type { WebModel } from '../../src/infer/model'
import { scanNote } from '../../src/infer/scan_notes'

const model = (...channels: string[]) =>
  ({ plan: { dimension: 3, channels, spacing_mm: [1, 1, 2] }, usual_shape: [100, 100, 50], locator: null }) as unknown as WebModel

function scan(spacing: number, ...channels: number[][]) {
  const affine = [[spacing, 0, 0, 0], [0, spacing, 0, 0], [0, 0, spacing, 0], [0, 0, 0, 1]]
  return { shape: [2, 1, 1] as [number, number, number], affine, channels: channels.map((values) => Float32Array.from(values)) }
}

test('a scan or a channel of one value is noted, in the words of vesal predict', () => {
  const note = (names: string[], ...channels: number[][]) => scanNote(scan(1, ...channels), model(...names), [90, 90, 50])
  expect(note(['MR'], [1, 2])).toBe('')
  expect(note(['MR'], [0, 0])).toBe('the scan holds one value throughout (0)')
  expect(note(['T2', 'ADC'], [7, 7], [8, 8])).toBe('the scan holds one value throughout (7)')
  expect(note(['T2', 'ADC'], [1, 2], [3, 3])).toBe('channel ADC holds one value throughout')
})

test('a scan of another order of size than those of training is noted, in one stage', () => {
  const note = 'the scan measures 0.0025 x 0.00125 x 0.00125 mm and those of training 100 x 100 x 100 mm, so its spacing (0.00125 x 0.00125 x 0.00125 mm) may be wrong'
  expect(scanNote(scan(0.00125, [1, 2]), model('CT'), [1, 1, 1])).toBe(note)
  expect(scanNote(scan(0.00125, [1, 2]), { ...model('CT'), locator: { plan: model('CT').plan, networks: [] } }, [1, 1, 1])).toBe('')
  expect(scanNote(scan(10, [1, 2]), model('CT'), [990, 990, 490])).toBe('')
  expect(scanNote(scan(10, [1, 2]), model('CT'), [1010, 1010, 510])).toContain('may be wrong')
})
