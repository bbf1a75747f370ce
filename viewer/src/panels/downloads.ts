import type { Server } from '../api/client'
import type { Result } from '../api/types'
import { bytesText, dateText } from '../logic/numbers'
import type { Study } from '../logic/study'
import { panel } from '../ui/controls'
import { h, icon } from '../ui/dom'
import { announce, attempt } from '../ui/messages'

/** What the server's kinds of results are called; an unknown kind has its own name. */
export const KINDS: Record<string, string> = {
  nifti: 'Mask (NIfTI)',
  nrrd: 'Mask (NRRD)',
  'dicom-seg': 'Mask (DICOM SEG)',
  'dicom-labelmap': 'Label map (DICOM SEG)',
  'dicom-fractional': 'Probabilities (DICOM SEG)',
  rtstruct: 'Contours (DICOM RTSTRUCT)',
  sr: 'Measurement report (DICOM SR)',
  preview: 'Preview picture',
  uncertainty: 'Uncertainty map (NIfTI)',
  glb: 'Surfaces (GLB)',
  stl: 'Surfaces (STL)',
}

/** A button for each file of a job; null where there are none. */
export function downloadsPanel({ downloads, job, expires }: Study, client: Server): HTMLElement | null {
  if (downloads.length === 0) return null
  const twice = new Set(downloads.map(({ kind }) => kind)).size < downloads.length
  const rows = downloads.map((result) => h('li', {}, button(result, job, client, twice)))
  const kept = expires ? h('p', { class: 'faint' }, `Kept until ${dateText(expires)}.`) : null
  return panel('Files', h('ul', { class: 'downloads' }, ...rows), kept)
}

function button(result: Result, job: string, client: Server, named: boolean): HTMLElement {
  const { name, kind, bytes } = result
  const element = h(
    'button',
    { type: 'button', class: 'download' },
    icon('download'),
    h('span', { class: 'download-name' }, KINDS[kind] ?? kind, named && h('span', { class: 'faint' }, ` ${name}`)),
    h('span', { class: 'number faint' }, bytesText(bytes)),
  )
  element.addEventListener('click', async () => {
    element.disabled = true
    await attempt(async () => {
      save(await client.file(client.resultPath(job, name), name))
      announce(`${name} was saved.`)
    })
    element.disabled = false
    element.focus()
  })
  return element
}

/** Hands a file to the browser's downloads. A plain link could not carry the token. */
function save(file: File): void {
  const url = URL.createObjectURL(file)
  const link = h('a', { href: url, download: file.name })
  document.body.append(link)
  link.click()
  link.remove()
  window.setTimeout(() => URL.revokeObjectURL(url), 60_000)
}
