import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import type { WebModel } from '../src/infer/model'
import type { Answer } from '../src/web/worker'
import { file, nifti } from './infer/nifti_file'

const plan = {
  dimension: 3, rules: 'vesal', axis_order: null, as_stored: false, slice_axis: null, spacing_mm: [1.5, 2, 2.5], keeps_spacing: false,
  patch: [2, 2, 2], normalisation: [{ scheme: 'none', lower: null, upper: null, mean: null, std: null }], crop_to_nonzero: false,
  image_order: 1, blocks: false, overlap: 0.5, blend: 'gaussian', channels: ['MR'], foreground_channel: false,
  labels: { labels: [{ name: 'a', value: 7 }], background: 0, regions: [] }, margin_mm: 0, label_sizes: null, label_gaps_mm: null,
}
const model = { version: 1, plan, networks: ['model.onnx'], usual_shape: [2, 3, 2], temperature: 1, postprocess: [], locator: null } as unknown as WebModel
/** What lies beside the page, and what the worker answered. */
let beside: Record<string, unknown>
let told: Answer[]
const loadNetworks = vi.hoisted(() => vi.fn())
const isDicom = vi.hoisted(() => vi.fn())

vi.mock('../src/web/networks', () => ({ loadNetworks }))
vi.mock('../src/web/dicom', async (original) => ({ ...(await original<object>()), isDicom }))

beforeEach(() => {
  beside = { 'model.json': model }
  told = []
  isDicom.mockResolvedValue(false)
  // Foreground where a value is above 5.
  const network = async (window: Float32Array) => Float32Array.from([...window.map(() => 5), ...window])
  loadNetworks.mockResolvedValue({ networks: { fine: [network], locator: null }, note: 'by a test' })
  vi.stubGlobal('self', { location: { href: 'http://page/assets/worker.js' }, postMessage: (answer: Answer) => told.push(answer) })
  vi.stubGlobal('fetch', async (address: string) => {
    const found = beside[address.replace('http://page/', '')]
    return found ? new Response(JSON.stringify(found)) : new Response('<html>', { status: 404 })
  })
})

afterEach(() => {
  vi.unstubAllGlobals()
  vi.resetModules()
})

/** The worker's last answer to a scan. */
async function answer(scan: File, shown: WebModel = model): Promise<Answer> {
  await import('../src/web/worker')
  ;(self.onmessage as unknown as (event: unknown) => void)({ data: { files: [scan], threshold: 0.5, model: shown } })
  await vi.waitFor(() => expect(told.at(-1)?.kind).toMatch(/failed|finished/))
  return told.at(-1)!
}

test('a scan is segmented', async () => {
  expect(await answer(file(nifti()))).toMatchObject({ kind: 'finished', name: 'a', volumesMl: { a: 6 * 7.5e-3 }, notes: ['by a test'] })
})

test('a model that was exported anew under an open page is not mixed with the one that the page shows', async () => {
  beside['model.json'] = { ...model, plan: { ...plan, labels: { ...plan.labels, labels: [{ name: 'b', value: 7 }] } } }
  expect(await answer(file(nifti()))).toEqual({ kind: 'failed', error: expect.stringContaining('load the page anew') })
})

test('a file that is not beside the page is named', async () => {
  beside = {}
  expect(await answer(file(nifti()))).toEqual({ kind: 'failed', error: expect.stringContaining('model.json is not beside the page') })
})

test('a scan that the memory does not suffice for is told in words', async () => {
  loadNetworks.mockRejectedValue(new RangeError('Array buffer allocation failed'))
  expect(await answer(file(nifti()))).toEqual({ kind: 'failed', error: expect.stringContaining('memory') })
})

test('phases of a series of DICOM are not taken for the channels of a scan', async () => {
  const two = { ...model, plan: { ...plan, channels: ['T1', 'T2'], normalisation: [plan.normalisation[0], plan.normalisation[0]] } } as unknown as WebModel
  beside['model.json'] = two
  isDicom.mockResolvedValue(true)
  expect(await answer(new File([], '1.dcm'), two)).toEqual({ kind: 'failed', error: expect.stringContaining('2 channels (T1, T2)') })
})
