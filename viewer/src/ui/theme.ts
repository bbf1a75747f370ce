import { settings } from '../logic/kept'
import { fill, icon } from './dom'

const KEY = 'vesal.theme'

type Theme = 'light' | 'dark'

function current(): Theme {
  const chosen = settings.getItem(KEY)
  if (chosen === 'light' || chosen === 'dark') return chosen
  return matchMedia('(prefers-color-scheme: dark)').matches ? 'dark' : 'light'
}

/** Light or dark as the system has it, until the button is pressed. */
export function followTheme(button: HTMLButtonElement): () => void {
  const apply = () => {
    const theme = current()
    document.documentElement.dataset['theme'] = theme
    button.setAttribute('aria-label', theme === 'dark' ? 'Use the light theme' : 'Use the dark theme')
    fill(button, icon(theme === 'dark' ? 'sun' : 'moon'))
  }
  const change = () => {
    settings.setItem(KEY, current() === 'dark' ? 'light' : 'dark')
    apply()
  }
  matchMedia('(prefers-color-scheme: dark)').addEventListener('change', apply)
  button.addEventListener('click', change)
  apply()
  return change
}
