import type { Case, Job, Label, Model, Result, View, VolumeInterval } from '../api/types'

/** A file on the server; `path` is its address. */
export interface Source {
  name: string
  path: string
}

export interface MaskSource extends Source {
  labels: Label[]
  volumes_ml: Record<string, number>
  intervals: Record<string, VolumeInterval>
  role: 'prediction' | 'truth'
}

/** All that can be looked at together: one case of a job, or what `vesal view` shows. */
export interface Study {
  title: string
  subtitle: string
  modality: string
  /** The scan's channels; one is shown at a time. */
  scans: Source[]
  masks: MaskSource[]
  uncertainty: Source | null
  quality: Pick<Case, 'verdict' | 'reason' | 'expected_dice'>
  notes: string[]
  downloads: Result[]
  /** When the server removes them; null where it keeps them. */
  expires: string | null
  /** Empty under `vesal view`. */
  job: string
  case: string
  cases: string[]
}

const NO_QUALITY = { verdict: null, reason: '', expected_dice: null }

/** One case of a finished job. `model` is null where the server no longer has it. */
export function studyOfJob(
  job: Job,
  wanted: string | undefined,
  model: Model | null,
  path: (result: string) => string,
): Study {
  const found = job.cases.find(({ name }) => name === wanted) ?? job.cases[0]
  const mine = job.results.filter((result) => !found || !result.case || result.case === found.name)
  const sources = (kind: string) =>
    mine.filter((result) => result.kind === kind).map(({ name }) => ({ name, path: path(name) }))
  return {
    title: found?.name || job.model,
    subtitle: job.model,
    modality: model?.modality ?? '',
    scans: sources('scan'),
    masks: sources('nifti').map((source) => ({
      ...source,
      labels: model?.labels ?? [],
      volumes_ml: found?.volumes_ml ?? {},
      intervals: found?.volume_intervals ?? {},
      role: 'prediction' as const,
    })),
    uncertainty: sources('uncertainty')[0] ?? null,
    quality: found ?? NO_QUALITY,
    notes: job.notes,
    downloads: mine.filter(({ kind }) => kind !== 'scan'),
    expires: job.expires,
    job: job.id,
    case: found?.name ?? '',
    cases: job.cases.map(({ name }) => name),
  }
}

/** What `vesal view` was given. */
export function studyOfView(view: View): Study {
  return {
    title: view.scan.name,
    subtitle: '',
    modality: '',
    scans: [{ name: view.scan.name, path: view.scan.url }],
    masks: view.masks.map(({ url, ...mask }) => ({ ...mask, intervals: {}, path: url })),
    uncertainty: view.uncertainty && { name: view.uncertainty.name, path: view.uncertainty.url },
    quality: { ...NO_QUALITY, reason: view.reason },
    notes: [],
    downloads: [],
    expires: null,
    job: '',
    case: '',
    cases: [],
  }
}

/** The file's name on the server as its address ends: the ending tells the format, `name` may not. */
export function fileName({ name, path }: Source): string {
  const last = decodeURIComponent(path.slice(path.lastIndexOf('/') + 1))
  return last.includes('.') ? last : name
}
