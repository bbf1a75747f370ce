import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import type { Plugin } from 'vite'

const LICENCE = /^(licen[cs]e|copying|notice)/i
/** Texts of packages that ship without theirs. */
const KEPT: Record<string, string> = {
  '@niivue/dcm2niix': 'licences/dcm2niix.txt',
  '@niivue/niivue': 'licences/niivue.txt',
  'onnxruntime-web': 'licences/onnxruntime.txt',
}
/** Packages whose files are no modules of the bundle, but lie beside them. */
const BESIDE = ['@niivue/dcm2niix', 'onnxruntime-web']

/** The folder of the package that a module is of; null for our own. */
function packageOf(module: string): string | null {
  const path = module.replace(/^\0/, '').split('?')[0]!
  if (!path.includes('node_modules')) return null
  let folder = dirname(path)
  while (!(existsSync(join(folder, 'package.json')) && 'name' in manifest(folder))) {
    if (dirname(folder) === folder) return null
    folder = dirname(folder)
  }
  return folder
}

function manifest(folder: string): Record<string, unknown> {
  return JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8')) as Record<string, unknown>
}

/** Writes THIRD_PARTY.txt into the bundle: the licence of every package that a module of it came from. */
export function thirdParty(): Plugin {
  return {
    name: 'third-party',
    generateBundle(_options, bundle) {
      const folders = new Set(BESIDE.map((name) => join(import.meta.dirname, 'node_modules', name)))
      for (const chunk of Object.values(bundle)) {
        for (const module of chunk.type === 'chunk' ? chunk.moduleIds : []) {
          const folder = packageOf(module)
          if (folder) folders.add(folder)
        }
      }
      const parts = [...folders].sort().map((folder) => {
        const { name, version, license } = manifest(folder)
        const files = readdirSync(folder).filter((file) => LICENCE.test(file))
        const kept = KEPT[String(name)]
        const paths = files.length || !kept ? files.map((file) => join(folder, file)) : [join(import.meta.dirname, kept)]
        const texts = paths.map((path) => readFileSync(path, 'utf8').trim())
        // What may not be passed on without its text must not be passed on.
        if (!texts.length) this.error(`${String(name)} has no licence text; put it into licences/ and name it in KEPT.`)
        return [`${String(name)} ${String(version)} (${String(license)})`, ...texts].join('\n\n')
      })
      const line = `\n\n${'-'.repeat(78)}\n\n`
      const head = 'The viewer of Vesal (Apache-2.0) contains these packages.'
      this.emitFile({ type: 'asset', fileName: 'THIRD_PARTY.txt', source: `${[head, ...parts].join(line)}\n` })
    },
  }
}
