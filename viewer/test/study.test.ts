import { expect, test } from 'vitest'
import type { Job, Model } from '../src/api/types'
import { summary } from '../src/logic/dropped_files'
import { agoText, bytesText, intervalText, mlText, mmText, valueText } from '../src/logic/numbers'
import { Store } from '../src/logic/store'
import { fileName, studyOfJob, studyOfView } from '../src/logic/study'

const result = (name: string, kind: string, of: string) => ({ name, kind, case: of, bytes: 1, sha256: '' })
const ended = { created: null, started: null, finished: null, expires: null, error: null, notes: [] }
const around = { a: { low: 0.91, high: 1.093, level: 0.9 } }
const found = (name: string) => ({ name, volumes_ml: { a: 1 }, verdict: null, reason: '', expected_dice: null, volume_intervals: around })
const job: Job = {
  id: 'j', model: 'm', status: 'finished', progress: 1, stage: '', ahead: 0, ...ended,
  cases: [found('one'), found('two')],
  results: [
    result('one-scan.nii.gz', 'scan', 'one'), result('one.nii.gz', 'nifti', 'one'),
    result('two-scan.nii.gz', 'scan', 'two'), result('two.nii.gz', 'nifti', 'two'), result('two.glb', 'glb', 'two'),
  ],
}
const model = { name: 'm', labels: [{ name: 'a', value: 1, colour: '#ff0000' }], modality: 'CT' } as Model

test('a case of a job has its own files', () => {
  const study = studyOfJob(job, 'two', model, (name) => `/api/${name}`)
  expect(study.scans).toEqual([{ name: 'two-scan.nii.gz', path: '/api/two-scan.nii.gz' }])
  expect(study.masks[0]).toMatchObject({ name: 'two.nii.gz', role: 'prediction', volumes_ml: { a: 1 }, intervals: around, labels: model.labels })
  expect(study.downloads.map(({ kind }) => kind)).toEqual(['nifti', 'glb'])
  expect(study.cases).toEqual(['one', 'two'])
})

test('an unknown case is the first, and a model that is gone leaves its labels unknown', () => {
  const study = studyOfJob(job, 'three', null, (name) => name)
  expect(study.case).toBe('one')
  expect(study.masks[0]!.labels).toEqual([])
})

test('a server of before gives no intervals', () => {
  const [one] = job.cases.map(({ volume_intervals: _, ...rest }) => rest)
  expect(studyOfJob({ ...job, cases: [one!] }, 'one', null, (name) => name).masks[0]!.intervals).toEqual({})
})

test('vesal view shows what it was given', () => {
  const mask = { url: '/api/view/files/1/a.nrrd', name: 'mine', labels: [], volumes_ml: {}, role: 'truth' as const }
  const study = studyOfView({ scan: { url: '/api/view/files/0/s.nii.gz', name: 's' }, masks: [mask], uncertainty: null, reason: '' })
  expect(study.masks[0]).toMatchObject({ path: '/api/view/files/1/a.nrrd', role: 'truth' })
  expect(fileName(study.masks[0]!)).toBe('a.nrrd')
})

test('numbers are short', () => {
  expect([bytesText(900), bytesText(1500), bytesText(56_300_000)]).toEqual(['900 bytes', '1.5 kB', '56 MB'])
  expect([mlText(0.123), mlText(48.26), mlText(1240.4)]).toEqual(['0.12 ml', '48.3 ml', '1240 ml'])
  expect([intervalText(around.a), intervalText({ low: 0, high: 48.26 })]).toEqual(['0.91 to 1.09 ml', '0.0 to 48.3 ml'])
  expect([mmText(-12.04), mmText(-0.01), valueText(-3), valueText(0.123456)]).toEqual(['−12.0', '0.0', '−3', '0.1235'])
  expect(agoText('2026-01-01T00:00:00Z', new Date('2026-01-01T02:10:00Z'))).toBe('2 hours ago')
})

test('what was chosen is told in a line', () => {
  const file = (path: string) => ({ file: new File(['xxx'], 'f'), path })
  expect(summary([file('a.nii.gz')], bytesText)).toBe('a.nii.gz, 3 bytes')
  expect(summary([file('study/1.dcm'), file('study/2.dcm')], bytesText)).toBe('2 files from study, 6 bytes')
})

test('a store tells what changes, and only that', () => {
  const store = new Store({ one: 1, two: 2 })
  const heard: number[] = []
  store.watch(['one'], ({ one }) => heard.push(one))
  store.set({ two: 3 })
  store.set({ one: 1 })
  store.set({ one: 4 })
  expect(heard).toEqual([1, 4])
})
