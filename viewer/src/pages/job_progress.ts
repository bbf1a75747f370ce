import { ApiError, type Server } from '../api/client'
import type { Job } from '../api/types'
import { fill, h } from '../ui/dom'
import { announce, attempt, clearError, showError } from '../ui/messages'
import { jobTitle, STATUS } from './jobs_list'

/** Milliseconds between two looks: often at first, for short jobs, then less. */
const [FIRST_MS, LAST_MS] = [400, 2500]
/** No answer, or one of a proxy before a server that is not up. */
const AWAY = new Set([0, 502, 503, 504])
/** Said aloud at every fifth. */
const SPOKEN = 0.2

/** >>> 'Waiting; 2 jobs come before this one.', 'Predicting, 40 %' */
export function progressText({ status, ahead, stage, progress }: Job): string {
  if (status === 'queued') {
    if (ahead === 0) return 'Waiting; this is the next one.'
    return ahead === 1 ? 'Waiting; 1 job comes before this one.' : `Waiting; ${ahead} jobs come before this one.`
  }
  return `${stage || 'Running'}, ${Math.round(progress * 100)} %`
}

/** Shows a job until it has ended; resolves to it then, or to null where the page was left. */
export async function watchJob(main: HTMLElement, client: Server, id: string, leave: AbortSignal): Promise<Job | null> {
  let wait = FIRST_MS
  let card: ReturnType<typeof progressCard> | null = null
  const pause = () => new Promise((resolve) => window.setTimeout(resolve, wait))
  let away = false
  for (;;) {
    let job: Job
    try {
      job = await client.job(id)
    } catch (error) {
      if (!card || !(error instanceof ApiError) || !AWAY.has(error.status)) throw error
      // A server that is started anew goes on with its jobs.
      if (!away && !leave.aborted) showError(error)
      away = true
      await pause()
      if (leave.aborted) return null
      continue
    }
    if (leave.aborted) return null
    if (away) clearError()
    away = false
    if (job.status !== 'queued' && job.status !== 'running') return job
    if (!card) {
      card = progressCard(job, () => attempt(() => client.cancel(id)))
      document.title = `${jobTitle(job)} · Vesal`
      main.className = 'page-home'
      fill(main, card.element)
    }
    card.put(job)
    await pause()
    wait = Math.min(LAST_MS, wait * 1.2)
    if (leave.aborted) return null
  }
}

function progressCard(job: Job, stop: () => Promise<Job | undefined>) {
  const text = h('p', { class: 'progress-text' })
  const bar = h('progress', { max: 1, 'aria-label': 'Progress' })
  const cancel = h('button', { type: 'button', class: 'secondary' }, 'Cancel')
  cancel.addEventListener('click', async () => {
    cancel.disabled = true
    // Where the request failed it may be tried again.
    cancel.disabled = (await stop()) !== undefined
  })
  const element = h(
    'div',
    { class: 'home' },
    h('h1', { class: 'home-title' }, jobTitle(job)),
    h('div', { class: 'card stack' }, text, bar, h('div', { class: 'row end' }, cancel)),
  )
  let said = ''
  const put = (now: Job) => {
    text.textContent = progressText(now)
    if (now.status === 'running') bar.value = now.progress
    else bar.removeAttribute('value')
    const step = `${now.status} ${now.ahead} ${now.stage} ${Math.floor(now.progress / SPOKEN)}`
    if (step !== said) announce(progressText(now))
    said = step
  }
  return { element, put }
}

/** A job that gave no result: why. */
export function showEnded(main: HTMLElement, job: Job): void {
  const failed = job.status === 'failed'
  main.className = 'page-home'
  fill(
    main,
    h(
      'div',
      { class: 'home' },
      h('h1', { class: 'home-title' }, jobTitle(job)),
      h(
        'div',
        { class: 'card stack', role: failed ? 'alert' : 'status' },
        h('p', {}, h('span', { class: `badge ${job.status}` }, STATUS[job.status])),
        h('p', {}, job.error ?? (failed ? 'This job failed and gave no reason.' : 'This job was cancelled.')),
        h('p', {}, h('a', { href: '#' }, 'Back to the start')),
      ),
    ),
  )
}
