import { expect, test } from 'vitest'
import type { WebModel } from '../src/infer/model'
import { LocalServer } from '../src/web/local_server'

const takes = (as_stored: boolean) => new LocalServer({ plan: { as_stored } } as WebModel).takes

test('DICOM is offered where a model does not depend on how axes are stored', () => {
  expect(takes(false)).toContain('DICOM')
  expect(takes(true)).toMatch(/^NIfTI; nothing leaves/)
})
