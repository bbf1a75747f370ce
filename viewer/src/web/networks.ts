import type * as Ort from 'onnxruntime-web'
import { outputsOf, type StageModel, type WebModel } from '../infer/model'
import { product } from '../infer/numbers'
import type { Networks } from '../infer/segment'
import type { Network } from '../infer/windows'
import { fileAddress, fileBeside } from './address'

/** More threads than these gain nothing on one window. */
const MOST_THREADS = 8
/** How far the logits of graphics card and processor may differ, of the largest: beyond, the card is not used. */
const ALIKE = 1e-2

/** The networks of a model, ready to compute, and a sentence about by what. */
export async function loadNetworks(model: WebModel): Promise<{ networks: Networks; note: string }> {
  const processor = await loadProcessor()
  const files = new Map<string, Uint8Array>()
  for (const name of [...model.networks, ...(model.locator?.networks ?? [])]) {
    files.set(name, new Uint8Array(await (await fileBeside(name)).arrayBuffer()))
  }
  const onCard = await betterCard(model, files, processor)
  const fine = onCard ?? (await stage(model, files, processor, 'wasm'))
  const locator = model.locator && (await stage(model.locator, files, processor, 'wasm'))
  const threads = processor.env.wasm.numThreads ?? 1
  const by = onCard ? 'the graphics card (WebGPU)' : `the processor (WebAssembly, ${threads} ${threads === 1 ? 'thread' : 'threads'})`
  return { networks: { fine, locator }, note: `Computed in this browser by ${by}.` }
}

async function load(file: string): Promise<typeof Ort> {
  const ort = (await import(/* @vite-ignore */ fileAddress(`ort/${file}`))) as typeof Ort
  ort.env.wasm.wasmPaths = fileAddress('ort/')
  ort.env.wasm.numThreads = self.crossOriginIsolated ? Math.min(MOST_THREADS, navigator.hardwareConcurrency || 1) : 1
  ort.env.logLevel = 'error'
  return ort
}

function loadProcessor(): Promise<typeof Ort> {
  return load('ort.wasm.min.mjs')
}

/** The networks on the graphics card, where there is one that computes what the processor does, in less time; else null. */
async function betterCard(model: StageModel, files: Map<string, Uint8Array>, processor: typeof Ort): Promise<Network[] | null> {
  const file = files.get(model.networks[0]!)!
  try {
    if (!(await (navigator as { gpu?: { requestAdapter(): Promise<unknown> } }).gpu?.requestAdapter())) return null
    const card = await load('ort.webgpu.min.mjs')
    const random = noise(inputShape(model))
    const theirs = await timed(card, 'webgpu', file, model, random)
    const ours = await timed(processor, 'wasm', file, model, random)
    const most = ours.logits.reduce((high, value) => Math.max(high, Math.abs(value)), 0)
    const alike = ours.logits.every((value, at) => Math.abs(value - theirs.logits[at]!) <= ALIKE * most)
    return alike && theirs.ms < ours.ms ? await stage(model, files, card, 'webgpu') : null
  } catch {
    // It lacks a layer of this network, say, or the memory for all of them.
    return null
  }
}

/** Logits of a window, and how long they take once everything is set up: a card may be software. */
async function timed(ort: typeof Ort, by: string, file: Uint8Array, model: StageModel, window: Float32Array) {
  const session = await ort.InferenceSession.create(file, { executionProviders: [by] })
  await compute(session, ort, model, window)
  const began = performance.now()
  const logits = await compute(session, ort, model, window)
  const ms = performance.now() - began
  await session.release()
  return { logits, ms }
}

async function stage(model: StageModel, files: Map<string, Uint8Array>, ort: typeof Ort, by: string): Promise<Network[]> {
  const networks: Network[] = []
  for (const name of model.networks) {
    const session = await ort.InferenceSession.create(files.get(name)!, { executionProviders: [by] })
    networks.push((window) => compute(session, ort, model, window))
  }
  return networks
}

async function compute(session: Ort.InferenceSession, ort: typeof Ort, model: StageModel, window: Float32Array): Promise<Float32Array> {
  const input = new ort.Tensor('float32', window, inputShape(model))
  const answer = await session.run({ [session.inputNames[0]!]: input })
  const logits = (await answer[session.outputNames[0]!]!.getData()) as Float32Array
  const wanted = outputsOf(model.plan) * product(model.plan.patch)
  if (logits.length !== wanted) throw new Error('The model does not give what its description says; export it again.')
  return logits
}

function inputShape({ plan }: StageModel): number[] {
  return [1, plan.channels.length + Number(plan.foreground_channel), ...plan.patch]
}

/** The same numbers each time, -1..1. */
function noise(shape: number[]): Float32Array {
  let state = 1
  return Float32Array.from({ length: product(shape) }, () => {
    state = (state * 48271) % 2147483647
    return (state / 2147483647) * 2 - 1
  })
}
