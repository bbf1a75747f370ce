import { DRAG_MODE, MULTIPLANAR_TYPE, Niivue, type NiiVueLocation, NVImage, SHOW_RENDER, SLICE_TYPE } from '@niivue/niivue'
import type { Label } from '../api/types'
import type { Layout } from '../logic/share_link'
import { limits, sortedSample, windowOf, type Window } from '../logic/windows'
import { paintSlots } from './read_files'

type Triple = [number, number, number]

/** What lies under the crosshair. */
export interface Cursor {
  /** Right, anterior, superior. */
  mm: Triple
  value: number
  /** Slot of the mask that is drawn; 0 where there is none. */
  slot: number
  uncertainty: number | null
}

const SLICES: Record<Layout, SLICE_TYPE> = {
  four: SLICE_TYPE.MULTIPLANAR,
  axial: SLICE_TYPE.AXIAL,
  coronal: SLICE_TYPE.CORONAL,
  sagittal: SLICE_TYPE.SAGITTAL,
  '3d': SLICE_TYPE.RENDER,
}

/** How clear even parts of the scan are in 3D, so that the mask is seen inside the body: 0 solid, 1 only edges. */
const CLEAR = 0.8
/** The edges take four bytes a voxel on the graphics card; a scan with more voxels than these stays solid. */
const MOST_CLEAR = 30e6
const FIRST_SCALE = 1.25
/** The share of its highest value below which a map of uncertainty fades out: the mask shall be seen under it. */
const FADES_BELOW = 0.3

/** Degrees that a press of a key turns the 3D picture by. */
const TURN = 5

/** The picture: one scan, over it a mask, over that a map of uncertainty. All of NiiVue is here. */
export class Scene {
  onCursor: (cursor: Cursor) => void = () => {}
  onWindow: (window: Window) => void = () => {}
  onTurn: (turn: [number, number]) => void = () => {}
  private scan: NVImage | null = null
  private mask: NVImage | null = null
  private uncertainty: NVImage | null = null
  /** Black and white of the window that the page knows of. */
  private told: [number, number] = [NaN, NaN]

  private constructor(readonly niivue: Niivue) {}

  /** Throws an Error where the browser has no WebGL2. */
  static async on(canvas: HTMLCanvasElement): Promise<Scene> {
    const niivue = new Niivue({
      backColor: [0.035, 0.043, 0.051, 1],
      crosshairColor: [0.36, 0.85, 0.78, 0.8],
      crosshairWidth: 0.25,
      crosshairWidthUnit: 'percent',
      crosshairGap: 6,
      isCornerOrientationText: true,
      fontColor: [0.72, 0.76, 0.8, 1],
      fontMinPx: 12,
      fontSizeScaling: 0,
      isRadiologicalConvention: true,
      multiplanarLayout: MULTIPLANAR_TYPE.GRID,
      multiplanarShowRender: SHOW_RENDER.ALWAYS,
      multiplanarPadPixels: 6,
      isOrientCube: false,
      dragMode: DRAG_MODE.windowing,
      dragAndDropEnabled: false,
      loadingText: '',
      logLevel: 'error',
    })
    if (!canvas.getContext('webgl2')) {
      throw new Error('This browser has no WebGL2, which the pictures need; allow hardware acceleration or use another browser.')
    }
    await niivue.attachToCanvas(canvas, true)
    const scene = new Scene(niivue)
    niivue.onLocationChange = (location) => scene.tell(location as NiiVueLocation)
    // NiiVue tells of a place and a turn, but not of a window that is dragged or reset by a double click.
    for (const name of ['mousemove', 'mouseup', 'touchend', 'dblclick']) {
      canvas.addEventListener(name, () => scene.tellWindow())
    }
    niivue.onAzimuthElevationChange = (azimuth, elevation) => scene.onTurn([azimuth, elevation])
    return scene
  }

  /** Shows a frame of a scan in this window; masks stay where they were, in millimetres. */
  async setScan(image: NVImage, frame: number, window: Window): Promise<void> {
    const { niivue, scan } = this
    if (image === scan) {
      await niivue.setFrame4D(image.id, frame)
      this.setWindow(window)
      return
    }
    const clear = image.nVox3D! > MOST_CLEAR ? 0 : CLEAR
    this.scan = image
    image.colormap = 'gray'
    image.frame4D = frame
    ;[image.cal_min, image.cal_max] = this.told = limits(window)
    niivue.opts.gradientOpacity = clear // known before the textures are made
    this.once(() => {
      niivue.addVolume(image)
      if (scan) {
        niivue.setVolume(image, 0)
        niivue.setVolume(scan, -1)
      }
    })
    await niivue.setGradientOpacity(clear)
    niivue.setScale(FIRST_SCALE)
  }

  /** Makes the textures once after all that `work` changes: NiiVue makes them anew at each change. */
  once(work: () => void): void {
    const { niivue } = this
    const outermost = !Object.hasOwn(niivue, 'updateGLVolume')
    if (outermost) niivue.updateGLVolume = () => {}
    try {
      work()
    } finally {
      if (outermost) {
        Reflect.deleteProperty(niivue, 'updateGLVolume')
        niivue.updateGLVolume()
      }
    }
  }

  /** Draws these slots on the grid of `image`. */
  setMask(image: NVImage, slots: Uint8Array, labels: Label[], off: ReadonlySet<number>): void {
    paintSlots(image, slots, labels, off)
    this.once(() => {
      if (image === this.mask) return
      if (this.mask) this.niivue.setVolume(this.mask, -1)
      this.mask = image
      this.niivue.addVolume(image)
      this.niivue.setVolume(image, 1)
    })
    this.tellAgain()
  }

  setUncertainty(image: NVImage): void {
    this.uncertainty = image
    image.colormap = 'inferno'
    const high = image.global_max ?? 1
    image.cal_min = high * FADES_BELOW
    image.cal_max = high
    image.colormapType = 2 // below cal_min the map fades out
    image.opacity = 0
    this.niivue.addVolume(image)
  }

  /** The map's highest value; null where there is none. */
  get highestUncertainty(): number | null {
    return this.uncertainty?.global_max ?? null
  }

  setMaskOpacity(opacity: number): void {
    this.fade(this.mask, opacity)
  }

  setUncertaintyOpacity(opacity: number): void {
    this.fade(this.uncertainty, opacity)
  }

  private fade(image: NVImage | null, opacity: number): void {
    if (image) this.niivue.setOpacity(this.niivue.getVolumeIndexByID(image.id), opacity)
  }

  setOutline(outline: boolean): void {
    this.niivue.setAtlasOutline(outline ? 1 : 0)
  }

  setWindow(window: Window): void {
    if (!this.scan) return
    const [low, high] = limits(window)
    if (this.scan.cal_min === low && this.scan.cal_max === high) return
    this.told = [low, high]
    this.scan.cal_min = low
    this.scan.cal_max = high
    this.niivue.updateGLVolume()
  }

  setLayout(layout: Layout): void {
    this.niivue.opts.show3Dcrosshair = layout !== '3d'
    this.niivue.setSliceType(SLICES[layout])
  }

  setTurn([azimuth, elevation]: [number, number]): void {
    const { renderAzimuth, renderElevation } = this.niivue.scene
    if (renderAzimuth !== azimuth || renderElevation !== elevation) {
      this.niivue.setRenderAzimuthElevation(azimuth, elevation)
    }
  }

  turnBy(right: number, up: number): void {
    const { renderAzimuth, renderElevation } = this.niivue.scene
    this.niivue.setRenderAzimuthElevation(renderAzimuth + right * TURN, renderElevation + up * TURN)
  }

  goTo(mm: Triple): void {
    this.niivue.scene.crosshairPos = this.niivue.mm2frac(mm, 0, true)
    this.niivue.drawScene()
    this.tellAgain()
  }

  /** By voxels towards right, anterior, superior. */
  moveBy([x, y, z]: Triple): void {
    this.niivue.moveCrosshairInVox(x, y, z)
  }

  zoomBy(factor: number): void {
    const { pan2Dxyzmm } = this.niivue.scene
    const zoom = Math.min(8, Math.max(1, pan2Dxyzmm[3]! * factor))
    this.niivue.setPan2Dxyzmm([pan2Dxyzmm[0]!, pan2Dxyzmm[1]!, pan2Dxyzmm[2]!, zoom])
    this.niivue.setScale(Math.min(8, Math.max(0.5, this.niivue.scene.volScaleMultiplier * factor)))
  }

  resetView(): void {
    this.niivue.setPan2Dxyzmm([0, 0, 0, 1])
    this.niivue.setScale(FIRST_SCALE)
    this.niivue.setRenderAzimuthElevation(110, 10)
    this.niivue.scene.crosshairPos = [0.5, 0.5, 0.5]
    this.niivue.drawScene()
    this.tellAgain()
  }

  /** Lets go of the graphics card's memory. */
  close(): void {
    this.niivue.cleanup()
    this.niivue.gl.getExtension('WEBGL_lose_context')?.loseContext()
  }

  /** What lies under the crosshair, once more. */
  tellAgain(): void {
    if (this.scan) this.niivue.createOnLocationChange()
  }

  private tellWindow(): void {
    const { cal_min: low, cal_max: high } = this.scan ?? {}
    if (low === undefined || high === undefined) return
    if (low === this.told[0] && high === this.told[1]) return
    this.told = [low, high]
    this.onWindow(windowOf(low, high))
  }

  private tell(location: NiiVueLocation): void {
    const valueOf = (image: NVImage | null) => location.values.find(({ id }) => id === image?.id)?.value
    this.onCursor({
      mm: [location.mm[0]!, location.mm[1]!, location.mm[2]!],
      value: valueOf(this.scan) ?? 0,
      slot: Math.round(valueOf(this.mask) ?? 0),
      uncertainty: valueOf(this.uncertainty) ?? null,
    })
  }
}

/** Volumes along the fourth axis. */
export function framesOf(image: NVImage): number {
  return image.nFrame4D ?? 1
}

/** A sorted sample of a frame's values. */
export function sampleOf(image: NVImage, frame: number): Float64Array {
  const { scl_slope: slope, scl_inter: shift } = image.hdr!
  const size = image.nVox3D!
  return sortedSample(image.img!.subarray(frame * size, (frame + 1) * size), (value) => value * (slope || 1) + shift)
}
