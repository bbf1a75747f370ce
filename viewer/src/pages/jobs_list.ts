import type { Server } from '../api/client'
import type { Job, Status } from '../api/types'
import { agoText } from '../logic/numbers'
import { encodeShared } from '../logic/share_link'
import { fill, h } from '../ui/dom'
import { announce, attempt } from '../ui/messages'

const REFRESH_MS = 4000

export const STATUS: Record<Status, string> = {
  queued: 'waiting',
  running: 'running',
  finished: 'finished',
  failed: 'failed',
  cancelled: 'cancelled',
}

/** What a job is called in lists: its case, or its model until there is one. */
export function jobTitle({ cases, model }: Job): string {
  const first = cases[0]
  if (!first?.name) return model
  return cases.length > 1 ? `${first.name} and ${cases.length - 1} more` : first.name
}

/** The server's jobs, newest first; anew every few seconds while one of them is not through. */
export function jobsList(client: Server, leave: AbortSignal): { element: HTMLElement; load: () => Promise<void> } {
  const list = h('ul', { class: 'jobs' })
  const element = h('section', { class: 'card', 'aria-labelledby': 'jobs-head' }, h('h2', { id: 'jobs-head' }, 'Jobs'), list)
  let shown = ''

  const load = async (): Promise<void> => {
    const jobs = await client.jobs()
    if (leave.aborted) return
    const text = JSON.stringify(jobs)
    // Only when something is new: a list that is built anew loses the focus.
    if (text !== shown) {
      const focused = (document.activeElement as HTMLElement | null)?.dataset['key']
      fill(list, ...(jobs.length ? jobs.map(row) : [h('li', { class: 'faint' }, 'None yet.')]))
      if (focused) list.querySelector<HTMLElement>(`[data-key="${CSS.escape(focused)}"]`)?.focus()
      shown = text
    }
    if (jobs.some(({ status }) => status === 'queued' || status === 'running')) {
      window.setTimeout(() => leave.aborted || void attempt(load), REFRESH_MS)
    }
  }

  const row = (job: Job): HTMLElement => {
    const title = jobTitle(job)
    const going = job.status === 'queued' || job.status === 'running'
    const remove = h(
      'button',
      { type: 'button', class: 'quiet', 'data-key': `remove ${job.id}`, 'aria-label': `${going ? 'Cancel' : 'Remove'} ${title}` },
      going ? 'Cancel' : 'Remove',
    )
    remove.addEventListener('click', () => {
      if (!going && remove.dataset['sure'] === undefined) {
        remove.dataset['sure'] = ''
        remove.textContent = 'Remove with its files?'
        remove.removeAttribute('aria-label')
        announce(`Press again to remove ${title} with its files.`)
        return
      }
      void attempt(async () => {
        if (!going) await client.remove(job.id)
        const kept = going && (await client.cancel(job.id)).status !== 'cancelled'
        announce(kept ? `${title} had ended already, and is kept.` : `${title} was ${going ? 'cancelled' : 'removed'}.`)
        await load()
        element.querySelector<HTMLElement>('a, button')?.focus()
      })
    })
    const link = h('a', { href: `#${encodeShared({ job: job.id })}`, class: 'job-link', 'data-key': `open ${job.id}` }, title)
    const flagged = job.cases.some(({ verdict }) => verdict === 'review')
    return h(
      'li',
      { class: 'job-row' },
      h('span', { class: 'job-title' }, link, h('span', { class: 'faint' }, [job.model, agoText(job.created)].filter(Boolean).join(' · '))),
      flagged && h('span', { class: 'badge review' }, 'needs review'),
      h('span', { class: `badge ${job.status}` }, STATUS[job.status]),
      remove,
    )
  }

  return { element, load }
}
