import { ApiError, type Server } from '../api/client'
import type { Job, Limits, Model, View } from '../api/types'
import type { WebModel } from '../infer/model'
import { refusesDicom } from './dicom'
import type { Answer, Request } from './worker'

/** A job and the files of its results. */
interface Own {
  job: Job
  files: Map<string, File>
  worker: Worker | null
}

/**
 * The pages' server within this browser: jobs are computed by a worker, and everything is gone with the page.
 *
 * Nothing of a scan leaves the machine: the page's policy (see web.html) lets it ask its own origin alone, for its files.
 */
export class LocalServer implements Server {
  readonly takes: string
  readonly remote = false
  private readonly own = new Map<string, Own>()
  private made = 0
  private before: Promise<unknown> = Promise.resolve()

  constructor(private readonly model: WebModel) {
    this.takes = `NIfTI${refusesDicom(model.plan) ? '' : ', or a folder of DICOM'}; nothing leaves this computer`
  }

  makes(kind: string): boolean {
    return kind === 'nifti'
  }

  async models(): Promise<Model[]> {
    return [this.model.shown]
  }

  async limits(): Promise<Limits> {
    return { upload_bytes: 0, queue: 0, seconds: 0, keep_seconds: 0 }
  }

  async jobs(): Promise<Job[]> {
    return [...this.own.values()].reverse().map(({ job }) => job)
  }

  async job(id: string): Promise<Job> {
    return this.find(id).job
  }

  async create(form: FormData): Promise<Job> {
    const files = form.getAll('files') as File[]
    const given = Number(form.get('threshold') || 0.5)
    if (!(given > 0 && given < 1)) throw new ApiError(400, 'The threshold is a probability between 0 and 1.')
    const id = String(++this.made)
    const job: Job = {
      id,
      model: this.model.shown.name,
      status: 'queued',
      progress: 0,
      stage: '',
      ahead: [...this.own.values()].filter(({ job: { status } }) => status === 'queued' || status === 'running').length,
      created: new Date().toISOString(),
      started: null,
      finished: null,
      expires: null,
      error: null,
      cases: [],
      results: [],
      notes: [],
    }
    const own: Own = { job, files: new Map(), worker: null }
    this.own.set(id, own)
    // One after the other: each takes all the processor's cores.
    this.before = this.before.then(() => this.compute(own, { files, threshold: given, model: this.model }))
    return job
  }

  async view(): Promise<View | null> {
    return null
  }

  async cancel(id: string): Promise<Job> {
    const own = this.find(id)
    if (own.job.status === 'queued' || own.job.status === 'running') {
      own.worker?.terminate()
      own.job = { ...own.job, status: 'cancelled', finished: new Date().toISOString() }
      own.worker?.dispatchEvent(new Event('cancelled'))
    }
    return own.job
  }

  async remove(id: string): Promise<void> {
    await this.cancel(id)
    this.own.delete(id)
  }

  resultPath(job: string, name: string): string {
    return `/local/${job}/${encodeURIComponent(name)}`
  }

  async file(path: string, name: string): Promise<File> {
    const [, , job, last] = path.split('/')
    const file = this.find(job!).files.get(decodeURIComponent(last!))
    if (!file) throw new ApiError(404, `${name} is not there.`)
    return file
  }

  private find(id: string): Own {
    const own = this.own.get(id)
    if (!own) throw new ApiError(404, 'There is no such job any more: jobs are gone when the page is loaded anew.')
    return own
  }

  private compute(own: Own, request: Request): Promise<void> {
    if (own.job.status !== 'queued') return Promise.resolve()
    own.job = { ...own.job, status: 'running', started: new Date().toISOString(), stage: 'Starting', ahead: 0 }
    // A worker each: its memory is free again afterwards, and to cancel is to end it.
    const worker = new Worker(new URL('./worker.ts', import.meta.url), { type: 'module' })
    own.worker = worker
    return new Promise((resolve) => {
      const end = (change: Partial<Job>) => {
        worker.terminate()
        own.worker = null
        own.job = { ...own.job, progress: 1, finished: new Date().toISOString(), ...change }
        resolve()
      }
      worker.addEventListener('cancelled', () => resolve())
      worker.onerror = ({ message }) => end({ status: 'failed', error: `The computation broke off: ${message || 'it may need more memory than the browser gives'}.` })
      worker.onmessage = ({ data }: MessageEvent<Answer>) => {
        if (own.job.status !== 'running') return
        if (data.kind === 'progress') own.job = { ...own.job, stage: data.stage, progress: data.share }
        else if (data.kind === 'failed') end({ status: 'failed', error: data.error })
        else end(finished(own, data))
      }
      worker.postMessage(request)
    })
  }
}

function finished(own: Own, { scans, mask, name, volumesMl, concern, notes }: Extract<Answer, { kind: 'finished' }>): Partial<Job> {
  const results = [...scans.map((file) => ({ file, kind: 'scan' })), { file: mask, kind: 'nifti' }]
  for (const { file } of results) own.files.set(file.name, file)
  return {
    status: 'finished',
    cases: [{ name, volumes_ml: volumesMl, verdict: concern ? 'review' : null, reason: concern, expected_dice: null }],
    results: results.map(({ file, kind }) => ({ name: file.name, kind, case: name, bytes: file.size, sha256: '' })),
    notes,
  }
}
