import { expect, test } from 'vitest'
import { chosenText, inOrder } from '../src/logic/dropped_files'

const named = (...paths: string[]) => paths.map((path) => ({ file: new File([], path), path }))

test('it is said which file is taken for which channel, where there is one each', () => {
  const bytes = (count: number) => `${count} bytes`
  const text = (...channels: string[]) => chosenText(named('a.nii', 'b.nii'), channels, bytes)
  expect(text('T1', 'FLAIR')).toBe('T1: a.nii; FLAIR: b.nii')
  expect(text('T1')).toBe('2 files, 0 bytes')
  expect(text('T1', 'T2', 'FLAIR')).toBe('2 files, 0 bytes')
})

test('files come in the order of their names, numbers as numbers', () => {
  const files = named('b_10.nii', 'b_2.nii', 'a/z.nii', 'B_1.nii')
  expect(inOrder(files).map(({ path }) => path)).toEqual(['a/z.nii', 'B_1.nii', 'b_2.nii', 'b_10.nii'])
})
