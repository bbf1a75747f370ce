import type { Server } from '../api/client'
import type { Job } from '../api/types'
import { droppedFiles } from '../logic/dropped_files'
import { encodeShared } from '../logic/share_link'
import { fill, h } from '../ui/dom'
import { attempt } from '../ui/messages'
import { jobsList } from './jobs_list'
import { UploadForm, uploadForm } from './upload_form'

const NO_DEVICE = 'Vesal is a research tool. It is no medical device: its results are not for diagnosis.'

/** Where a scan is sent and earlier results are found again. */
export async function showHome(main: HTMLElement, client: Server, leave: AbortSignal): Promise<void> {
  document.title = 'Vesal'
  const place = h('div', { class: 'home' }, h('h1', { class: 'home-title' }, 'Segment a scan'))
  fill(main, place)
  main.className = 'page-home'
  await attempt(async () => {
    const form = await uploadForm(client, (job: Job) => (location.hash = encodeShared({ job: job.id })))
    if (leave.aborted) return
    const jobs = jobsList(client, leave)
    place.append(form instanceof UploadForm ? form.element : form, jobs.element, h('p', { class: 'faint' }, NO_DEVICE))
    if (form instanceof UploadForm) {
      const drop = (event: DragEvent) => {
        event.preventDefault()
        void attempt(async () => form.take(await droppedFiles(event.dataTransfer!)))
      }
      main.addEventListener('drop', drop, { signal: leave })
    }
    await jobs.load()
  })
}
