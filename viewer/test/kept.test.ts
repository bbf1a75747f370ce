import { expect, test } from 'vitest'
import { kept } from '../src/logic/kept'

test('where the browser lends no storage, values hold until the page is left', () => {
  const store = kept(() => {
    throw new DOMException('Access is denied for this document.', 'SecurityError')
  })
  expect(store.getItem('theme')).toBeNull()
  store.setItem('theme', 'dark')
  expect(store.getItem('theme')).toBe('dark')
})
