import { expect, test } from 'vitest'
import { Latest } from '../src/logic/latest'

test('of what was begun the last alone counts', () => {
  const choice = new Latest()
  const first = choice.begin()
  expect(first()).toBe(true)
  const second = choice.begin()
  expect([first(), second()]).toEqual([false, true])
})
