import { beforeEach, expect, test, vi } from 'vitest'
import type { WebModel } from '../src/infer/model'
import { loadNetworks } from '../src/web/networks'

const model = {
  plan: { channels: ['CT'], foreground_channel: false, patch: [2], labels: { labels: [{ name: 'a', value: 1 }], regions: [] } },
  networks: ['model.onnx', 'model_2.onnx'],
  locator: null,
} as unknown as WebModel

/** Stands for onnxruntime: logits are the window and its half. A card has room for so many sessions, and takes no time. */
const ORT = (ms: number, room: string) => `
export const env = { wasm: {} }
export class Tensor { constructor(type, data) { this.data = data } }
export const InferenceSession = { create: async () => {
  if (${room} < 1) throw new Error('no room')
  globalThis.room--
  return { inputNames: ['i'], outputNames: ['o'], release: async () => { globalThis.room++ }, run: async ({ i }) => {
    await new Promise((done) => setTimeout(done, ${ms}))
    return { o: { getData: async () => Float32Array.from([...i.data, ...i.data.map((value) => value / 2)]) } }
  } }
} }`

vi.mock('../src/web/address', () => ({
  fileAddress: (name: string) => `data:text/javascript,${encodeURIComponent(name.includes('webgpu') ? ORT(0, 'globalThis.room') : ORT(20, '9'))}`,
  fileBeside: async () => new Response('graph'),
}))

let adapter: () => Promise<unknown>

beforeEach(() => {
  adapter = async () => ({})
  vi.stubGlobal('self', {})
  vi.stubGlobal('navigator', { gpu: { requestAdapter: () => adapter() } })
})

async function by(room: number): Promise<string> {
  vi.stubGlobal('room', room)
  const { networks, note } = await loadNetworks(model)
  expect(networks.fine.length).toBe(2)
  expect([...(await networks.fine[1]!(Float32Array.of(2, 4)))]).toEqual([2, 4, 1, 2])
  return note
}

test('the faster of card and processor computes', async () => {
  expect(await by(2)).toContain('graphics card')
})

test('the processor computes where the card has no room for all networks, or is none', async () => {
  expect(await by(1)).toContain('the processor')
  adapter = () => Promise.reject(new Error('blocked'))
  expect(await by(2)).toContain('the processor')
})
