import type { NVImage } from '@niivue/niivue'
import type { Server } from '../api/client'
import { droppedFiles } from '../logic/dropped_files'
import { labelAt } from '../logic/labels'
import { Latest } from '../logic/latest'
import { Segmentation } from '../logic/segmentation'
import { encodeShared, LAYOUTS, type Layout, type Shared } from '../logic/share_link'
import { Store } from '../logic/store'
import { fileName, type MaskSource, type Source, type Study } from '../logic/study'
import { settingsOf, sharedOf, type ViewSettings } from '../logic/view_settings'
import { firstPreset, isCt, presets, type Window } from '../logic/windows'
import { readout } from '../panels/readout'
import { framesOf, sampleOf, Scene, type Cursor } from '../scene/scene'
import { readImage, readMask, type MaskImage } from '../scene/read_files'
import { choice } from '../ui/controls'
import { fill, h, icon } from '../ui/dom'
import type { Keys } from '../ui/keys'
import { announce, attempt } from '../ui/messages'
import { resultKeys } from './result_keys'
import { resultPanels, wordPanels, type Channel } from './result_panels'
import { copyLink, shareButton } from './share_button'

const NAMES: Record<Layout, string> = { four: 'All', axial: 'Axial', coronal: 'Coronal', sagittal: 'Sagittal', '3d': '3D' }

/** How long the view must be still until the address takes it. */
const ADDRESS_MS = 300

/** A result, to be looked at. */
export class ResultPage {
  readonly settings: Store<ViewSettings>
  segmentation: Segmentation | null = null
  windows: Record<string, Window> = {}
  channels: Channel[] = []
  ct = false
  private base: MaskImage | null = null
  private cursor: Cursor | null = null
  private readonly chosenChannel = new Latest()
  private readonly chosenMask = new Latest()
  private readonly readout = readout()
  private readonly canvas = h('canvas', {
    class: 'picture',
    tabindex: 0,
    role: 'application',
    'aria-roledescription': 'image viewer',
    'aria-label': 'Scan with its mask. Arrow keys move the crosshair, page keys change the slice, ? lists all keys.',
    'aria-describedby': this.readout.id,
  })
  private readonly inspector = h('aside', { class: 'inspector', 'aria-label': 'What is shown' })
  private readonly loading = h('p', { class: 'loading', role: 'status' }, 'Loading the scan …')
  scene!: Scene

  constructor(
    readonly study: Study,
    shared: Shared,
    readonly client: Server,
    private readonly keys: Keys,
    private readonly leave: AbortSignal,
  ) {
    this.settings = new Store(settingsOf(shared))
    if (shared.window) this.settings.set({ preset: '' })
  }

  /** Builds the page and loads what the study has. */
  async show(main: HTMLElement): Promise<void> {
    document.title = `${this.study.title} · Vesal`
    main.className = 'page-result'
    fill(main, this.stage(), this.inspector)
    // A truth is dropped anywhere on the page; NiiVue, which would swallow it, does not hear of it.
    const drop = (event: DragEvent) => {
      event.preventDefault()
      event.stopPropagation()
      void attempt(async () => {
        const [first] = await droppedFiles(event.dataTransfer!)
        if (first) await this.compareWith(first.file)
      })
    }
    main.addEventListener('drop', drop, { signal: this.leave, capture: true })
    try {
      await this.showPicture(main)
    } catch (error) {
      // A browser without WebGL2 still gets words and files.
      this.loading.textContent = 'No picture.'
      fill(this.inspector, ...wordPanels(this))
      throw error
    }
  }

  private async showPicture(main: HTMLElement): Promise<void> {
    this.scene = await Scene.on(this.canvas)
    if (this.leave.aborted) return this.scene.close()
    this.leave.addEventListener('abort', () => this.scene.close())
    const given = this.settings.now
    await this.loadScan()
    if (this.leave.aborted) return
    await this.loadMasks()
    if (this.leave.aborted) return
    this.scene.once(() => this.connect())
    if (given.at) this.scene.goTo(given.at)
    else this.scene.tellAgain()
    if (given.turn) this.scene.setTurn(given.turn)
    fill(this.inspector, ...resultPanels(this))
    this.setKeys()
    this.loading.remove()
    main.dataset['ready'] = ''
    announce(`${this.study.title} is shown.`)
    if (this.study.uncertainty && this.settings.now.uncertainty) await attempt(() => this.loadUncertainty())
  }

  private stage(): HTMLElement {
    const { title, subtitle } = this.study
    const layout = choice<Layout>(
      'Layout',
      LAYOUTS.map((key) => [key, NAMES[key]]),
      this.settings.now.layout,
      (value) => this.settings.set({ layout: value }),
    )
    this.settings.watch(['layout'], (now) => layout.choose(now.layout))
    const reset = h('button', { type: 'button', class: 'quiet square', 'aria-label': 'Place, turn and size as at first' }, icon('reset'))
    reset.addEventListener('click', () => this.scene.resetView())
    return h(
      'div',
      { class: 'stage' },
      h(
        'div',
        { class: 'stage-bar' },
        h('h1', { class: 'study-title', title }, title, subtitle && h('span', { class: 'faint' }, subtitle)),
        layout.element,
        reset,
        shareButton(),
      ),
      h('div', { class: 'picture-frame' }, this.canvas, this.loading),
      this.readout.element,
    )
  }

  private async loadScan(): Promise<void> {
    const first = this.study.scans[0]
    if (!first) throw new Error('This result has no scan to show.')
    const image = await readImage(await this.fetch(first))
    if (this.leave.aborted) return
    const frames = framesOf(image)
    this.channels =
      this.study.scans.length > 1
        ? this.study.scans.map((source) => ({ name: source.name, show: () => this.showChannel(source) }))
        : Array.from({ length: frames }, (_, frame) => ({
            name: `channel ${frame + 1}`,
            show: () => this.showFrame(image, frame),
          }))
    await this.showFrame(image, 0)
  }

  private async showChannel(source: Source): Promise<void> {
    const last = this.chosenChannel.begin()
    const image = await readImage(await this.fetch(source))
    if (last() && !this.leave.aborted) await this.showFrame(image, 0)
  }

  private async showFrame(image: NVImage, frame: number): Promise<void> {
    this.takeValues(sampleOf(image, frame))
    await this.scene.setScan(image, frame, this.settings.now.window)
  }

  /** The presets for these values; the one that is chosen keeps its name. */
  private takeValues(sorted: Float64Array): void {
    const { preset, window } = this.settings.now
    const first = Object.keys(this.windows).length === 0
    this.windows = presets(sorted)
    this.ct = isCt(this.study.modality, sorted)
    const fromLink = first && location.hash.includes('window=')
    const name = first ? (fromLink ? '' : firstPreset(this.study.modality, sorted)) : preset
    this.settings.set({ preset: name, window: this.windows[name] ?? window })
  }

  private async loadMasks(): Promise<void> {
    const prediction = this.study.masks.find(({ role }) => role === 'prediction')
    const truth = this.study.masks.find(({ role }) => role === 'truth')
    const base = prediction ?? truth
    if (!base) return
    await this.readMasks(base, prediction && truth)
  }

  /**
   * Takes a mask and the truth of it, both together: what is drawn is never of one and what is counted of another.
   * False where another was chosen meanwhile.
   */
  private async readMasks(source: MaskSource, truth: MaskSource | undefined): Promise<boolean> {
    const last = this.chosenMask.begin()
    const base = await readMask(await this.fetch(source), source.labels)
    const segmentation = new Segmentation(base.mask, source.role)
    if (truth) segmentation.setTruth((await readMask(await this.fetch(truth), segmentation.labels)).mask)
    if (!last() || this.leave.aborted) return false
    this.base = base
    this.segmentation = segmentation
    return true
  }

  /** Shows another of the predictions that there are. */
  async showPrediction(name: string): Promise<void> {
    const source = this.study.masks.find((mask) => mask.name === name)
    if (!source) return
    const truth = this.study.masks.find((mask) => mask.role === 'truth' && mask !== source)
    if (!(await this.readMasks(source, truth))) return
    this.draw()
    fill(this.inspector, ...resultPanels(this, name))
  }

  /** Reads a file as the truth of this scan. */
  async takeTruth(file: File): Promise<void> {
    const { segmentation } = this
    if (!segmentation) throw new Error('There is no prediction to hold a truth against.')
    const { mask } = await readMask(file, segmentation.labels)
    segmentation.setTruth(mask)
    announce(`${file.name} is the truth now.`)
  }

  private async loadUncertainty(): Promise<void> {
    const source = this.study.uncertainty!
    if (this.scene.highestUncertainty === null) {
      this.scene.setUncertainty(await readImage(await this.fetch(source)))
    }
    const { uncertainty, uncertaintyOpacity } = this.settings.now
    this.scene.setUncertaintyOpacity(uncertainty ? uncertaintyOpacity : 0)
    this.onUncertainty(this.scene.highestUncertainty ?? 0)
  }

  /** Hears the map's highest value once it is read. */
  onUncertainty: (highest: number) => void = () => {}

  /** Takes a file as the truth and shows what differs. */
  compareWith: (file: File) => Promise<void> = async () => {}

  private fetch(source: Source): Promise<File> {
    return this.client.file(source.path, fileName(source))
  }

  /** Draws the mask that is chosen now. */
  private draw(): void {
    if (!this.base || !this.segmentation) return
    const { shown, compared, off, visible, opacity } = this.settings.now
    const { slots, labels } = this.segmentation.drawn(shown, compared)
    // The three colours of a difference are no classes; none of them is off.
    const hidden = labels === this.segmentation.labels ? off : new Set<number>()
    const { image } = this.base
    this.scene.once(() => {
      this.scene.setMask(image, slots, labels, hidden)
      this.scene.setMaskOpacity(visible ? opacity : 0)
    })
  }

  /** What changes in the settings changes in the picture, and the other way round. */
  private connect(): void {
    const { settings, scene } = this
    settings.watch(['layout'], (now) => scene.setLayout(now.layout))
    settings.watch(['window'], (now) => scene.setWindow(now.window))
    settings.watch(['outline'], (now) => scene.setOutline(now.outline))
    settings.watch(['off', 'shown', 'compared'], () => this.draw())
    settings.watch(['visible', 'opacity'], (now) => scene.setMaskOpacity(now.visible ? now.opacity : 0))
    let first = true
    settings.watch(['uncertainty', 'uncertaintyOpacity'], () => {
      if (!first && this.study.uncertainty) void attempt(() => this.loadUncertainty())
      first = false
    })
    scene.onCursor = (cursor) => {
      this.cursor = cursor
      this.tellCursor()
      settings.set({ at: cursor.mm })
    }
    scene.onWindow = (window) => settings.set({ preset: '', window })
    scene.onTurn = (turn) => settings.set({ turn })
    let waiting: number | undefined
    const names = Object.keys(settings.now) as (keyof ViewSettings)[]
    settings.watch(names, () => {
      window.clearTimeout(waiting)
      waiting = window.setTimeout(() => this.leave.aborted || this.writeAddress(), ADDRESS_MS)
    })
  }

  private tellCursor(): void {
    if (!this.cursor) return
    if (!this.segmentation) {
      this.readout.tell(this.cursor, '', '')
      return
    }
    const { shown, off } = this.settings.now
    const labels = this.segmentation.drawnLabels(shown)
    const label = labelAt(labels, this.cursor.slot)
    const seen = label && !(labels === this.segmentation.labels && off.has(label.value)) ? label : null
    this.readout.tell(this.cursor, seen?.name ?? '', seen?.colour ?? '')
  }

  private writeAddress(): void {
    const { job, case: name } = this.study
    history.replaceState(null, '', `#${encodeShared(sharedOf(this.settings.now, job, name))}`)
  }

  private setKeys(): void {
    this.keys.here(
      resultKeys(this.scene, this.settings, this.canvas, {
        presets: () => this.windows,
        hasTruth: () => this.segmentation?.hasBoth ?? false,
        copy: () => {
          this.writeAddress()
          void copyLink()
        },
      }),
    )
  }
}
