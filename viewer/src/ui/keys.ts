import { settings } from '../logic/kept'
import { h } from './dom'
import { openDialog } from './dialog'

/** A key and what it does. Letters work everywhere but in fields; the others where `on` has the focus. */
export interface Shortcut {
  keys: string[]
  does: string
  run: (event: KeyboardEvent) => void
  on?: HTMLElement
}

const KEY = 'vesal.letters'
const NAMES: Record<string, string> = {
  ArrowLeft: '←',
  ArrowRight: '→',
  ArrowUp: '↑',
  ArrowDown: '↓',
  PageUp: 'Page Up',
  PageDown: 'Page Down',
}

/** All shortcuts of the page. Single letters can be switched off (WCAG 2.1.4): they trouble who steers by voice. */
export class Keys {
  private general: Shortcut[] = []
  private local: Shortcut[] = []

  constructor() {
    // Before the picture hears them: NiiVue has keys of its own, other ones.
    document.addEventListener('keydown', (event) => this.hear(event), true)
    document.addEventListener('keyup', silence, true)
  }

  /** Those that hold on every page. */
  always(shortcuts: Shortcut[]): void {
    this.general = shortcuts
  }

  /** Those of the page that is shown, in place of those of the last one. */
  here(shortcuts: Shortcut[]): void {
    this.local = shortcuts
  }

  help(): void {
    const letters = h('input', { type: 'checkbox', checked: lettersOn() })
    letters.addEventListener('change', () => settings.setItem(KEY, letters.checked ? 'on' : 'off'))
    // Keys that do the same in several directions stand in one row.
    const byDeed = new Map<string, string[]>()
    for (const { keys, does } of [...this.local, ...this.general]) {
      byDeed.set(does, [...(byDeed.get(does) ?? []), ...keys])
    }
    const rows = [...byDeed].map(([does, keys]) =>
      h('tr', {}, h('th', { scope: 'row' }, ...keys.flatMap((key) => [h('kbd', {}, keyName(key)), ' '])), h('td', {}, does)),
    )
    openDialog(
      'Keys',
      h('table', { class: 'keys' }, h('tbody', {}, ...rows)),
      h('p', { class: 'faint' }, 'Tab goes to the next control, Escape closes a dialog. Arrows work when the picture has the focus.'),
      h('p', { class: 'faint' }, 'Mouse: a click sets the crosshair, the wheel changes the slice, a drag with the right button the window.'),
      h('label', { class: 'check' }, letters, 'Single keys work outside the picture, too'),
    )
  }

  private hear(event: KeyboardEvent): void {
    silence(event)
    if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented) return
    const target = event.target as HTMLElement
    if (target.closest('dialog') || target.matches('input:not([type=checkbox]):not([type=radio]), textarea, select')) return
    const found = [...this.local, ...this.general].find(({ keys, on }) => {
      const here = on ? on === target : lettersOn() || event.key === '?' || target instanceof HTMLCanvasElement
      return here && keys.includes(event.shiftKey && event.key.startsWith('Arrow') ? `Shift ${event.key}` : event.key)
    })
    if (!found) return
    event.preventDefault()
    found.run(event)
  }
}

function lettersOn(): boolean {
  return settings.getItem(KEY) !== 'off'
}

function keyName(key: string): string {
  return key
    .split(' ')
    .map((part) => NAMES[part] ?? part)
    .join(' ')
}

function silence(event: KeyboardEvent): void {
  if (event.target instanceof HTMLCanvasElement) event.stopPropagation()
}
