/** What the server sends. Volumes are in millilitres, times are ISO in UTC. */

export interface Label {
  name: string
  value: number
  /** #rrggbb */
  colour: string
}

export interface Model {
  name: string
  labels: Label[]
  regions: boolean
  channels: string[]
  modality: 'CT' | 'MR' | ''
  /** Dice of each class as measured when the model was made. */
  measured: Record<string, number>
  quality: boolean
  /** Whether the server can read and write DICOM. */
  dicom: boolean
  digest: string
}

export interface Limits {
  upload_bytes: number
  queue: number
  seconds: number
  keep_seconds: number
}

export interface ExpectedDice {
  value: number
  low: number
  high: number
}

/** Millilitres that hold the true volume of `level` of all scans like the known ones. */
export interface VolumeInterval {
  low: number
  high: number
  level: number
}

export interface Case {
  name: string
  volumes_ml: Record<string, number>
  verdict: 'pass' | 'review' | null
  reason: string
  expected_dice: Record<string, ExpectedDice> | null
  /** Of the classes that have one; absent from a server of before. */
  volume_intervals?: Record<string, VolumeInterval>
}

export interface Result {
  name: string
  kind: string
  case: string
  bytes: number
  sha256: string
}

export type Status = 'queued' | 'running' | 'finished' | 'failed' | 'cancelled'

export interface Job {
  id: string
  model: string
  status: Status
  /** 0..1 */
  progress: number
  stage: string
  /** Jobs that come before this one. */
  ahead: number
  created: string | null
  started: string | null
  finished: string | null
  expires: string | null
  error: string | null
  cases: Case[]
  results: Result[]
  notes: string[]
}

export interface NamedUrl {
  url: string
  name: string
}

export interface ViewMask extends NamedUrl {
  labels: Label[]
  volumes_ml: Record<string, number>
  role: 'prediction' | 'truth'
}

/** What `vesal view` shows. */
export interface View {
  scan: NamedUrl
  masks: ViewMask[]
  uncertainty: NamedUrl | null
  reason: string
}
