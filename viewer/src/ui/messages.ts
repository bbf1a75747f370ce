import { ApiError } from '../api/client'
import { fill, h, icon } from './dom'

/** The two regions that screen readers listen to; both stand in index.html. */
const region = (id: string) => document.getElementById(id)!

let spoken: number | undefined

/** Says something without showing it; a repeated sentence is said again. */
export function announce(text: string): void {
  const live = region('live')
  live.textContent = ''
  window.clearTimeout(spoken)
  spoken = window.setTimeout(() => (live.textContent = text), 60)
}

/** Shows an error until it is closed or another comes. */
export function showError(error: unknown): void {
  const text = error instanceof Error ? error.message : String(error)
  if (!(error instanceof ApiError)) console.warn(error)
  const close = h('button', { type: 'button', class: 'quiet square', 'aria-label': 'Close this message' }, icon('close'))
  close.addEventListener('click', clearError)
  fill(region('alert'), h('div', { class: 'alert-box' }, icon('warning'), h('p', {}, text), close))
}

export function clearError(): void {
  fill(region('alert'))
}

/** Runs what may fail; a failure is shown. */
export async function attempt<T>(work: () => Promise<T>): Promise<T | undefined> {
  try {
    return await work()
  } catch (error) {
    showError(error)
    return undefined
  }
}

/** A short confirmation at the lower edge, also said. */
export function confirmShortly(text: string): void {
  announce(text)
  const note = h('div', { class: 'toast', 'aria-hidden': 'true' }, icon('check'), text)
  document.body.append(note)
  window.setTimeout(() => note.remove(), 2600)
}
