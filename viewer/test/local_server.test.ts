import { expect, test } from 'vitest'
import type { WebModel } from '../src/infer/model'
import { LocalServer } from '../src/web/local_server'

const takes = (as_stored: boolean, ...channels: string[]) => new LocalServer({ plan: { as_stored, channels } } as unknown as WebModel).takes

test('DICOM is offered where a model wants one channel and does not depend on how axes are stored', () => {
  expect(takes(false, 'CT')).toContain('DICOM')
  expect(takes(true, 'CT')).toMatch(/^NIfTI; nothing leaves/)
  expect(takes(false, 'T1', 'T2')).toMatch(/^NIfTI; nothing leaves/)
})
