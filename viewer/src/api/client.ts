import type { Job, Limits, Model, View } from './types'
import { upload } from './upload'

/** A request that failed, in the server's own sentence. `status` is 0 where no answer came. */
export class ApiError extends Error {
  constructor(
    readonly status: number,
    message: string,
  ) {
    super(message)
  }
}

export interface Token {
  get(): string
  /** Asks the person; resolves to false where they gave none. `wrong` when one was refused. */
  ask(wrong: boolean): Promise<boolean>
}

/** What the pages ask: a server, or this browser itself. */
export interface Server {
  /** Which scans it takes, in words. */
  readonly takes: string
  /** Whether files are sent somewhere when a job is made. */
  readonly remote: boolean
  /** Whether it can make this kind of result for a model. */
  makes(kind: string, model: Model): boolean
  models(): Promise<Model[]>
  limits(): Promise<Limits>
  jobs(): Promise<Job[]>
  job(id: string): Promise<Job>
  /** A new job. `progress` hears the share that was sent, 0..1. */
  create(form: FormData, progress: (share: number) => void, stop: AbortSignal): Promise<Job>
  /** What `vesal view` lists; null elsewhere. */
  view(): Promise<View | null>
  /** Cancels a job that waits or runs; one that has ended in the meantime stays. The job as it is then. */
  cancel(id: string): Promise<Job>
  /** Removes a job that has ended, with its files. */
  remove(id: string): Promise<void>
  resultPath(job: string, name: string): string
  /** A file's bytes, under the name that tells its format. */
  file(path: string, name: string): Promise<File>
}

type Fetch = (input: string, init?: RequestInit) => Promise<Response>

const NO_ANSWER = 'The server does not answer. See whether it is still running, then try again.'

/**
 * The server's address of a path, relative to the page, so that it also holds behind a proxy's prefix.
 *
 * >>> address('/api/models') -> './api/models'
 */
export function address(path: string): string {
  return path.startsWith('/') ? `.${path}` : path
}

/** The sentence in an answer that is not 2xx; its status where it has none. */
export async function errorOf(status: number, text: string): Promise<ApiError> {
  try {
    const body: unknown = JSON.parse(text)
    if (body && typeof body === 'object' && 'error' in body && typeof body.error === 'string') {
      return new ApiError(status, body.error)
    }
  } catch {
    // Not JSON: a proxy's page, for instance.
  }
  return new ApiError(status, `The server answered with status ${status}.`)
}

/** Requests to the server that the page came from. */
export class Client implements Server {
  readonly takes = 'NIfTI, NRRD, MetaImage, a zip, or a folder of DICOM'
  readonly remote = true

  constructor(
    private readonly token: Token,
    private readonly fetcher: Fetch = (input, init) => fetch(input, init),
  ) {}

  makes(kind: string, { dicom }: Model): boolean {
    return dicom || !kind.match(/^(dicom-.*|rtstruct|sr)$/)
  }

  models(): Promise<Model[]> {
    return this.json('/api/models')
  }

  limits(): Promise<Limits> {
    return this.json('/api/limits')
  }

  jobs(): Promise<Job[]> {
    return this.json('/api/jobs')
  }

  job(id: string): Promise<Job> {
    return this.json(`/api/jobs/${encodeURIComponent(id)}`)
  }

  create(form: FormData, progress: (share: number) => void, stop: AbortSignal): Promise<Job> {
    return upload(form, this.token, progress, stop)
  }

  async view(): Promise<View | null> {
    try {
      return await this.json<View>('/api/view')
    } catch (error) {
      if (error instanceof ApiError && error.status === 404) return null
      throw error
    }
  }

  cancel(id: string): Promise<Job> {
    return this.json(`/api/jobs/${encodeURIComponent(id)}?keep_ended=true`, { method: 'DELETE' })
  }

  async remove(id: string): Promise<void> {
    await this.send(`/api/jobs/${encodeURIComponent(id)}`, { method: 'DELETE' })
  }

  resultPath(job: string, name: string): string {
    return `/api/jobs/${encodeURIComponent(job)}/results/${encodeURIComponent(name)}`
  }

  async file(path: string, name: string): Promise<File> {
    const answer = await this.send(path)
    return new File([await answer.blob()], name)
  }

  private async json<T>(path: string, init?: RequestInit): Promise<T> {
    const answer = await this.send(path, init)
    return (await answer.json()) as T
  }

  private async send(path: string, init: RequestInit = {}): Promise<Response> {
    for (;;) {
      const token = this.token.get()
      const headers = token ? { Authorization: `Bearer ${token}` } : undefined
      let answer: Response
      try {
        answer = await this.fetcher(address(path), { ...init, ...(headers && { headers }) })
      } catch {
        throw new ApiError(0, NO_ANSWER)
      }
      if (answer.ok) return answer
      if (answer.status !== 401 || !(await this.token.ask(token !== ''))) {
        throw await errorOf(answer.status, await answer.text())
      }
    }
  }
}
