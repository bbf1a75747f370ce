import type { DroppedFile } from '../logic/dropped_files'
import { address, ApiError, errorOf, type Token } from './client'
import type { Job } from './types'

/** What a job is asked for beside its files. Empty values are left out. */
export interface Wishes {
  model: string
  to: string[]
  series: string
  threshold: string
  fillSlices: boolean
}

/** The form of a new job: the fields come before the files, as the server reads it as a stream. */
export function jobForm(wishes: Wishes, files: DroppedFile[]): FormData {
  const form = new FormData()
  const fields: [string, string][] = [
    ['model', wishes.model],
    ['to', wishes.to.join(',')],
    ['series', wishes.series.trim()],
    ['threshold', wishes.threshold.trim()],
    ['fill_slices', wishes.fillSlices ? 'true' : ''],
  ]
  for (const [name, value] of fields) if (value) form.append(name, value)
  for (const { file, path } of files) form.append('files', file, path)
  return form
}

/**
 * Sends a new job. `progress` hears the share sent, 0..1: fetch cannot tell it, XMLHttpRequest can.
 *
 * Throws ApiError; one of status 0 where it was stopped or no answer came.
 */
export async function upload(
  form: FormData,
  token: Token,
  progress: (share: number) => void,
  stop: AbortSignal,
): Promise<Job> {
  for (;;) {
    const sent = token.get()
    const { status, text } = await post(form, sent, progress, stop)
    if (status >= 200 && status < 300) return JSON.parse(text) as Job
    if (status !== 401 || !(await token.ask(sent !== ''))) throw await errorOf(status, text)
  }
}

function post(
  form: FormData,
  token: string,
  progress: (share: number) => void,
  stop: AbortSignal,
): Promise<{ status: number; text: string }> {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest()
    request.open('POST', address('/api/jobs'))
    if (token) request.setRequestHeader('Authorization', `Bearer ${token}`)
    request.upload.onprogress = (event) => {
      if (event.lengthComputable) progress(event.loaded / event.total)
    }
    request.onload = () => resolve({ status: request.status, text: request.responseText })
    request.onerror = () =>
      reject(new ApiError(0, 'The upload was broken off. See whether the server is still running and takes files of this size.'))
    request.onabort = () => reject(new ApiError(0, 'The upload was stopped.'))
    stop.addEventListener('abort', () => request.abort())
    request.send(form)
  })
}
