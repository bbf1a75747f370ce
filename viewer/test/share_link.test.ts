import { expect, test } from 'vitest'
import { decodeShared, encodeShared, type Shared } from '../src/logic/share_link'
import { FIRST_SETTINGS, settingsOf, sharedOf } from '../src/logic/view_settings'

const whole: Shared = {
  job: 'a1-b_2',
  case: 'patient 7, left & right',
  at: [-12.25, 0, 34.5],
  window: { level: 40, width: 400 },
  layout: 'coronal',
  opacity: 0.35,
  off: [2, 7],
  uncertainty: true,
  turn: [110, -10],
}

test('what goes into a link comes out of it', () => {
  expect(decodeShared(`#${encodeShared(whole)}`)).toEqual(whole)
  expect(decodeShared(encodeShared({ view: true }))).toEqual({ view: true })
})

test('a link is short and can be read', () => {
  expect(encodeShared({ job: 'a1', at: [1.23456, -2, 3], off: [1, 3] })).toBe('job=a1&at=1.23,-2,3&off=1,3')
  expect(encodeShared({})).toBe('')
})

test('what is damaged is left out, the rest holds', () => {
  const damaged = '#job=../../x&at=1,2&window=40,0&layout=upside&opacity=7&off=a,b&turn=1,2,3&case=c'
  expect(decodeShared(damaged)).toEqual({ case: 'c' })
  expect(decodeShared('')).toEqual({})
})

test('the settings of a page come back from its link', () => {
  const settings = { ...FIRST_SETTINGS, layout: 'axial' as const, off: new Set([3, 1]), at: [1, 2, 3] as [number, number, number] }
  const shared = decodeShared(encodeShared(sharedOf(settings, 'j', 'c')))
  expect(shared.off).toEqual([1, 3])
  expect(settingsOf(shared)).toEqual(settings)
})

test('a page of vesal view names no job', () => {
  expect(encodeShared(sharedOf(FIRST_SETTINGS, '', ''))).toBe('view=1&window=50,400&layout=four&opacity=0.6')
})
