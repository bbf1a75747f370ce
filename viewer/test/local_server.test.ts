import { expect, test, vi } from 'vitest'
import type { WebModel } from '../src/infer/model'
import { fileName, studyOfJob } from '../src/logic/study'
import { LocalServer } from '../src/web/local_server'

const takes = (as_stored: boolean, ...channels: string[]) => new LocalServer({ plan: { as_stored, channels } } as unknown as WebModel).takes

test('DICOM is offered where a model wants one channel and does not depend on how axes are stored', () => {
  expect(takes(false, 'CT')).toContain('DICOM')
  expect(takes(true, 'CT')).toMatch(/^NIfTI; nothing leaves/)
  expect(takes(false, 'T1', 'T2')).toMatch(/^NIfTI; nothing leaves/)
})

/** A server whose workers compute when they are told to. */
function serving() {
  const workers: FakeWorker[] = []
  class FakeWorker extends EventTarget {
    onmessage: (event: unknown) => void = () => undefined
    ended = false
    constructor() {
      super()
      workers.push(this)
    }
    postMessage() {}
    terminate() {
      this.ended = true
    }
    finish(name: string) {
      const [scan, mask] = [new File(['scan'], `${name}.nii.gz`), new File(['mask'], `${name}_mask.nii.gz`)]
      this.onmessage({ data: { kind: 'finished', scans: [scan], mask, name, volumesMl: {}, concern: '', notes: [] } })
    }
  }
  vi.stubGlobal('Worker', FakeWorker)
  const server = new LocalServer({ plan: { channels: ['CT'] }, shown: { name: 'm' } } as unknown as WebModel)
  return { server, workers }
}

test('a result is found by its address, whatever the name of its scan', async () => {
  const { server, workers } = serving()
  const { id } = await server.create(new FormData())
  await vi.waitFor(() => expect(workers.length).toBe(1))
  workers[0]!.finish('study/50% dose #1?')
  const study = studyOfJob(await server.job(id), undefined, null, (name) => server.resultPath(id, name))
  expect(fileName(study.masks[0]!)).toBe('study/50% dose #1?_mask.nii.gz')
  expect(await (await server.file(study.masks[0]!.path, 'mask')).text()).toBe('mask')
})

test('to cancel ends what waits or runs, and leaves what has ended in the meantime', async () => {
  const { server, workers } = serving()
  const [one, two, three] = await Promise.all([0, 1, 2].map(() => server.create(new FormData())))
  await vi.waitFor(() => expect(workers.length).toBe(1))
  workers[0]!.finish('first')
  await vi.waitFor(() => expect(workers.length).toBe(2))
  expect((await server.cancel(one!.id)).status).toBe('finished')
  expect((await server.job(one!.id)).results.length).toBe(2)
  expect((await server.cancel(two!.id)).status).toBe('cancelled')
  expect(workers[1]!.ended).toBe(true)
  await vi.waitFor(() => expect(workers.length).toBe(3))
  expect((await server.job(three!.id)).status).toBe('running')
  await server.remove(one!.id)
  await expect(server.job(one!.id)).rejects.toThrow('no such job')
})
