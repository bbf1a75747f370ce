import { join } from 'node:path'
import { defineConfig } from 'vitest/config'
import { runtimeFiles } from './runtime_files.ts'
import { thirdParty } from './third_party.ts'

// Relative addresses: the page also works below a proxy's prefix. No source maps: they would be larger than the code.
export default defineConfig({
  base: './',
  resolve: { alias: { zarrita: join(import.meta.dirname, 'src/scene/no_zarr.ts') } },
  build: {
    outDir: '../src/vesal/serve/viewer_files',
    emptyOutDir: true,
    target: 'es2022',
    // NiiVue is one large file, loaded when a result is opened.
    chunkSizeWarningLimit: 3000,
    // The server's page, and the one that `vesal export --to web` writes.
    rollupOptions: { input: ['index.html', 'web.html'].map((name) => join(import.meta.dirname, name)) },
  },
  worker: { format: 'es' },
  plugins: [runtimeFiles(), thirdParty()],
  // npm run dev beside a server: vesal serve MODEL
  server: { proxy: { '/api': 'http://127.0.0.1:8765' } },
  test: { include: ['test/**/*.test.ts'] },
})
