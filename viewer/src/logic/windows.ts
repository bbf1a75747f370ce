/** Window and level: which values are drawn black and which white. */

export interface Window {
  level: number
  width: number
}

/** In Hounsfield units, from radiopaedia.org/articles/windowing-ct. */
export const CT_WINDOWS: Record<string, Window> = {
  'soft tissue': { level: 50, width: 400 },
  lung: { level: -600, width: 1500 },
  bone: { level: 400, width: 1800 },
  brain: { level: 40, width: 80 },
  liver: { level: 30, width: 150 },
  mediastinum: { level: 50, width: 350 },
}

/** For values without a unit (MR): the shares of the voxels, in per cent, at which black and white lie. */
export const PERCENTILE_WINDOWS: Record<string, [number, number]> = {
  '1–99 %': [1, 99],
  '5–95 %': [5, 95],
  'full range': [0, 100],
}

const SAMPLES = 200_000
/** Air in a CT is −1000 HU; no MR has values that low. */
const AIR = -500

export function limits({ level, width }: Window): [number, number] {
  return [level - width / 2, level + width / 2]
}

export function windowOf(low: number, high: number): Window {
  return { level: (low + high) / 2, width: high - low }
}

/** An even sample of the scan's values, sorted. `scale` makes real values of stored ones. */
export function sortedSample(stored: ArrayLike<number>, scale: (value: number) => number): Float64Array {
  const step = Math.max(1, Math.floor(stored.length / SAMPLES))
  const values = new Float64Array(Math.ceil(stored.length / step))
  let count = 0
  for (let index = 0; index < stored.length; index += step) {
    const value = scale(stored[index]!)
    if (Number.isFinite(value)) values[count++] = value
  }
  return values.subarray(0, count).sort()
}

/** >>> percentile([0, 1, 2, 3, 4], 50) -> 2; the nearest of the sorted values. */
export function percentile(sorted: ArrayLike<number>, share: number): number {
  if (sorted.length === 0) return 0
  return sorted[Math.round((share / 100) * (sorted.length - 1))]!
}

/** The window between two percentiles; never of no width. */
export function percentileWindow(sorted: ArrayLike<number>, [low, high]: [number, number]): Window {
  const [black, white] = [percentile(sorted, low), percentile(sorted, high)]
  return windowOf(black, white > black ? white : black + 1)
}

/** All presets for a scan, by name, in the order of the menu. */
export function presets(sorted: ArrayLike<number>): Record<string, Window> {
  const shares = Object.entries(PERCENTILE_WINDOWS).map(([name, share]) => [name, percentileWindow(sorted, share)])
  return { ...CT_WINDOWS, ...Object.fromEntries(shares) }
}

/** Where no model tells: values as low as air's are Hounsfield units. */
export function isCt(modality: string, sorted: ArrayLike<number>): boolean {
  return modality ? modality === 'CT' : percentile(sorted, 1) <= AIR
}

/** The preset to begin with. */
export function firstPreset(modality: string, sorted: ArrayLike<number>): string {
  return isCt(modality, sorted) ? 'soft tissue' : '1–99 %'
}
