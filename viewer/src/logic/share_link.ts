import type { Window } from './windows'

export const LAYOUTS = ['four', 'axial', 'coronal', 'sagittal', '3d'] as const
export type Layout = (typeof LAYOUTS)[number]

/** What a link holds: which result, and how it is looked at. The token is never among it. */
export interface Shared {
  job?: string
  /** Whether it is what `vesal view` shows. */
  view?: boolean
  case?: string
  /** The crosshair: right, anterior, superior, in millimetres. */
  at?: [number, number, number]
  window?: Window
  layout?: Layout
  /** 0..1 */
  opacity?: number
  /** Values of the classes that are switched off. */
  off?: number[]
  uncertainty?: boolean
  /** Azimuth and elevation of the 3D picture, in degrees. */
  turn?: [number, number]
}

/** >>> encodeShared({ job: 'a1', layout: 'axial' }) -> 'job=a1&layout=axial' */
export function encodeShared(shared: Shared): string {
  const parts: [string, string][] = []
  const add = (name: string, value: string | undefined) => value && parts.push([name, value])
  add('job', shared.job)
  add('view', shared.view ? '1' : undefined)
  add('case', shared.case)
  add('at', shared.at && numbersText(shared.at))
  add('window', shared.window && numbersText([shared.window.level, shared.window.width]))
  add('layout', shared.layout)
  add('opacity', shared.opacity === undefined ? undefined : rounded(shared.opacity))
  add('off', shared.off && numbersText(shared.off))
  add('uncertainty', shared.uncertainty ? '1' : undefined)
  add('turn', shared.turn && numbersText(shared.turn))
  return parts.map(([name, value]) => `${name}=${encodeURIComponent(value).replaceAll('%2C', ',')}`).join('&')
}

/** The reverse; `fragment` with or without its #. What is damaged is left out. */
export function decodeShared(fragment: string): Shared {
  const given = new URLSearchParams(fragment.replace(/^#/, ''))
  const shared: Shared = {}
  const job = given.get('job')
  if (job && /^[\w-]+$/.test(job)) shared.job = job
  if (given.get('view') === '1') shared.view = true
  const name = given.get('case')
  if (name) shared.case = name
  const at = numbers(given.get('at'), 3)
  if (at) shared.at = at as [number, number, number]
  const window = numbers(given.get('window'), 2)
  if (window && window[1]! > 0) shared.window = { level: window[0]!, width: window[1]! }
  const layout = LAYOUTS.find((known) => known === given.get('layout'))
  if (layout) shared.layout = layout
  const opacity = numbers(given.get('opacity'), 1)?.[0]
  if (opacity !== undefined && opacity >= 0 && opacity <= 1) shared.opacity = opacity
  const off = numbers(given.get('off'))
  if (off) shared.off = off
  if (given.get('uncertainty') === '1') shared.uncertainty = true
  const turn = numbers(given.get('turn'), 2)
  if (turn) shared.turn = turn as [number, number]
  return shared
}

function rounded(value: number): string {
  return String(Number(value.toFixed(2)))
}

function numbersText(values: number[]): string {
  return values.map(rounded).join(',')
}

function numbers(text: string | null, count?: number): number[] | undefined {
  if (!text) return undefined
  const values = text.split(',').map((part) => (part.trim() ? Number(part) : NaN))
  const right = values.every(Number.isFinite) && (count === undefined || values.length === count)
  return right ? values : undefined
}
