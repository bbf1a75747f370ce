import type { Server } from '../api/client'
import type { Job, Limits, Model } from '../api/types'
import { jobForm } from '../api/upload'
import { chosenFiles, chosenText, droppedFiles, type DroppedFile } from '../logic/dropped_files'
import { settings } from '../logic/kept'
import { bytesText } from '../logic/numbers'
import { KINDS } from '../panels/downloads'
import { checkbox, fileButton, select } from '../ui/controls'
import { fill, freshId, h, icon } from '../ui/dom'
import { announce, attempt, clearError, showError } from '../ui/messages'

const ALWAYS_MADE = 'nifti'
const CHOSEN = 'vesal.formats'

/** The card on which a scan is dropped, a model chosen and a job started. */
export class UploadForm {
  readonly element: HTMLFormElement
  private files: DroppedFile[] = []
  private model: Model
  private readonly chosen = h('p', { class: 'chosen', role: 'status' })
  private readonly formats = h('div', { class: 'formats' })
  private readonly hint = h('p', { class: 'faint' })
  private readonly start = h('button', { class: 'primary large', disabled: true }, 'Start')
  private readonly sending = h('div', { class: 'sending', hidden: true })
  private readonly series = h('input', { type: 'text', id: freshId('series'), autocomplete: 'off' })
  private readonly threshold = h('input', { type: 'number', id: freshId('threshold'), min: 0, max: 1, step: 'any' })
  private readonly fillSlices = h('input', { type: 'checkbox' })
  private to = new Set<string>(JSON.parse(settings.getItem(CHOSEN) ?? '[]') as string[])

  constructor(
    models: Model[],
    private readonly limits: Limits,
    private readonly client: Server,
    private readonly started: (job: Job) => void,
  ) {
    this.model = models[0]!
    const names = models.map(({ name }) => [name, name] as [string, string])
    const model = select('Model', [['', names]], this.model.name, (name) => {
      this.model = models.find((each) => each.name === name)!
      this.showModel()
    })
    this.element = h(
      'form',
      { class: 'card upload', 'aria-label': 'New scan' },
      this.dropZone(),
      models.length > 1 ? model.element : h('p', { class: 'one-model' }, 'Model ', h('strong', {}, this.model.name)),
      this.hint,
      h('details', {}, h('summary', {}, 'Files to make, and options'), this.formats, this.options()),
      this.sending,
      this.start,
    )
    this.element.addEventListener('submit', (event) => {
      event.preventDefault()
      void attempt(() => this.send())
    })
    this.showModel()
  }

  /** Takes what was dropped anywhere on the page. */
  take(files: DroppedFile[]): void {
    clearError()
    const bytes = files.reduce((sum, { file }) => sum + file.size, 0)
    const most = this.limits.upload_bytes
    if (most && bytes > most) {
      showError(`These files have ${bytesText(bytes)}; the server takes ${bytesText(most)} at most.`)
      return
    }
    this.files = files
    this.showChosen()
    this.start.disabled = files.length === 0
    if (files.length) this.start.focus()
  }

  private dropZone(): HTMLElement {
    const zone = h(
      'div',
      { class: 'drop' },
      icon('upload'),
      h('p', { class: 'drop-text' }, 'Drop a scan here'),
      h('p', { class: 'faint' }, this.client.takes),
      h(
        'div',
        { class: 'row wrap centre' },
        fileButton(['Choose files'], { multiple: true, className: 'secondary' }, (list) => this.take(chosenFiles(list))),
        fileButton(['Choose a folder'], { folder: true, className: 'secondary' }, (list) => this.take(chosenFiles(list))),
      ),
      this.chosen,
    )
    const mark = (over: boolean) => zone.classList.toggle('over', over)
    zone.addEventListener('dragenter', () => mark(true))
    zone.addEventListener('dragleave', (event) => {
      if (!zone.contains(event.relatedTarget as Node | null)) mark(false)
    })
    zone.addEventListener('drop', (event) => {
      event.preventDefault()
      event.stopPropagation()
      mark(false)
      void attempt(async () => this.take(await droppedFiles(event.dataTransfer!)))
    })
    return zone
  }

  private options(): HTMLElement {
    return h(
      'div',
      { class: 'options' },
      h('div', { class: 'field' }, h('label', { for: this.series.id }, 'Series (a part of its description, or its UID)'), this.series),
      h('div', { class: 'field' }, h('label', { for: this.threshold.id }, 'Threshold of probability'), this.threshold),
      h('label', { class: 'check' }, this.fillSlices, 'Fill missing slices'),
    )
  }

  /** A file that is taken for the wrong channel makes a wrong mask, so it is said which is taken for which. */
  private showChosen(): void {
    this.chosen.textContent = chosenText(this.files, this.model.channels, bytesText)
  }

  /** What this model wants, and the files that can be made of its result. */
  private showModel(): void {
    const { channels, modality, dicom, measured } = this.model
    const wants = channels.length > 1 ? `Wants ${channels.length} channels: ${channels.join(', ')}; one file each, whose names sort in this order.` : ''
    const dice = Object.entries(measured).map(([name, value]) => `${name} ${value.toFixed(2)}`)
    const parts = [modality, wants, dice.length ? `Measured Dice: ${dice.join(', ')}` : '']
    this.hint.textContent = parts.filter(Boolean).join(' · ')
    const kinds = Object.keys(KINDS).filter((kind) => this.client.makes(kind, this.model))
    const boxes = kinds.map((kind) => {
      const always = kind === ALWAYS_MADE
      const { element } = checkbox(KINDS[kind]!, always || this.to.has(kind), (on) => {
        if (on) this.to.add(kind)
        else this.to.delete(kind)
        settings.setItem(CHOSEN, JSON.stringify([...this.to]))
      })
      element.querySelector('input')!.disabled = always
      return element
    })
    const legend = h('legend', { class: 'visually-hidden' }, 'Files to make')
    fill(this.formats, h('fieldset', { class: 'plain grid' }, legend, ...boxes))
    this.showChosen()
    this.fillSlices.closest('label')!.hidden = !dicom
    this.series.closest<HTMLElement>('.field')!.hidden = !dicom
  }

  private async send(): Promise<void> {
    clearError()
    const { dicom } = this.model
    const to = Object.keys(KINDS).filter((kind) => kind === ALWAYS_MADE || this.to.has(kind))
    const form = jobForm(
      {
        model: this.model.name,
        to: to.filter((kind) => this.client.makes(kind, this.model)),
        series: dicom ? this.series.value : '',
        threshold: this.threshold.value,
        fillSlices: dicom && this.fillSlices.checked,
      },
      this.files,
    )
    const stop = new AbortController()
    const bar = h('progress', { max: 1, value: 0, 'aria-label': 'Upload' })
    const cancel = h('button', { type: 'button', class: 'secondary' }, 'Stop')
    cancel.addEventListener('click', () => stop.abort())
    fill(this.sending, h('span', {}, 'Sending'), bar, cancel)
    this.sending.hidden = !this.client.remote
    this.start.disabled = true
    if (this.client.remote) announce('Sending the scan.')
    try {
      this.started(await this.client.create(form, (share) => (bar.value = share), stop.signal))
    } finally {
      this.sending.hidden = true
      this.start.disabled = false
    }
  }
}

/** The form for what the server has; a sentence where it has no model. */
export async function uploadForm(
  client: Server,
  started: (job: Job) => void,
): Promise<UploadForm | HTMLElement> {
  // One after the other: a token that is missing is asked for once.
  const models = await client.models()
  const limits = await client.limits()
  if (models.length === 0) {
    return h('p', { class: 'card' }, 'This server has no model. Start it with one: vesal serve MODEL.')
  }
  return new UploadForm(models, limits, client, started)
}
