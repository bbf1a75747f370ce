import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Plugin } from 'vite'

/** onnxruntime for the processor and for the graphics card. They load each other by their names, so they are not bundled. */
const FILES = [
  'ort.wasm.min.mjs',
  'ort-wasm-simd-threaded.mjs',
  'ort-wasm-simd-threaded.wasm',
  'ort.webgpu.min.mjs',
  'ort-wasm-simd-threaded.asyncify.mjs',
  'ort-wasm-simd-threaded.asyncify.wasm',
]
const FOLDER = join(import.meta.dirname, 'node_modules/onnxruntime-web/dist')

/** Writes onnxruntime's files into ort/ of the bundle. */
export function runtimeFiles(): Plugin {
  return {
    name: 'runtime-files',
    generateBundle() {
      for (const name of FILES) {
        this.emitFile({ type: 'asset', fileName: `ort/${name}`, source: readFileSync(join(FOLDER, name)) })
      }
    },
  }
}
