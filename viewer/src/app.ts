import { ApiError, type Server } from './api/client'
import type { View } from './api/types'
import { decodeShared, type Shared } from './logic/share_link'
import { studyOfJob, studyOfView, type Study } from './logic/study'
import { showHome } from './pages/home'
import { showEnded, watchJob } from './pages/job_progress'
import { h } from './ui/dom'
import { Keys } from './ui/keys'
import { attempt, clearError } from './ui/messages'
import { followTheme } from './ui/theme'
import './style/tokens.css'
import './style/controls.css'
import './style/page.css'
import './style/result.css'

const main = document.getElementById('main') as HTMLElement
const element = (id: string) => document.getElementById(id) as HTMLElement
const keys = new Keys()
let left = new AbortController()
let view: View | null = null
let client: Server

/** Shows what the address names: a job, or the start; under `vesal view`, its files. */
async function show(): Promise<void> {
  left.abort()
  left = new AbortController()
  const leave = left.signal
  const shared = decodeShared(location.hash)
  delete main.dataset['ready']
  element('home').hidden = view !== null || !shared.job
  main.replaceChildren()
  clearError()
  keys.here([])
  await attempt(async () => {
    if (view) await showStudy(studyOfView(view), shared, leave)
    else if (shared.job) await showJob(shared.job, shared, leave)
    else await showHome(main, client, leave)
  })
  // Nothing but an alert: a way on.
  if (!leave.aborted && !main.hasChildNodes()) {
    main.className = 'page-home'
    main.append(h('p', { class: 'home' }, h('a', { href: '#' }, 'Back to the start')))
  }
}

async function showJob(id: string, shared: Shared, leave: AbortSignal): Promise<void> {
  const job = await watchJob(main, client, id, leave)
  if (!job) return
  if (job.status !== 'finished') {
    showEnded(main, job)
    return
  }
  const model = (await client.models()).find(({ name }) => name === job.model) ?? null
  const study = studyOfJob(job, shared.case, model, (result) => client.resultPath(id, result))
  await showStudy(study, shared, leave)
}

async function showStudy(study: Study, shared: Shared, leave: AbortSignal): Promise<void> {
  if (leave.aborted) return
  // NiiVue is large; the start does not wait for it.
  const { ResultPage } = await import('./pages/result')
  if (!leave.aborted) await new ResultPage(study, shared, client, keys, leave).show(main)
}

/**
 * What `vesal view` shows; null under `vesal serve`. Its address says so (#view=1); where it does not, a server without
 * models is asked. To ask every server would write a failed request into the browser's console.
 */
async function findView(): Promise<View | null> {
  const { job, view: named } = decodeShared(location.hash)
  if (job) return null
  if (!named && (await hasModels())) return null
  return client.view()
}

async function hasModels(): Promise<boolean> {
  try {
    return (await client.models()).length > 0
  } catch (error) {
    if (error instanceof ApiError && error.status === 404) return false
    throw error
  }
}

/** Runs the page on a server. */
export async function run(server: Server): Promise<void> {
  client = server
  const changeTheme = followTheme(element('theme') as HTMLButtonElement)
  element('help').addEventListener('click', () => keys.help())
  const home = () => {
    location.hash = ''
  }
  view = (await attempt(findView)) ?? null
  keys.always([
    ...(view ? [] : [{ keys: ['n'], does: 'New scan, and the list of jobs', run: home }]),
    { keys: ['t'], does: 'Light or dark', run: changeTheme },
    { keys: ['?'], does: 'This list', run: () => keys.help() },
  ])
  // A file that misses its place must not replace the page.
  for (const event of ['dragover', 'drop']) window.addEventListener(event, (given) => given.preventDefault())
  window.addEventListener('hashchange', () => void show())
  await show()
}
