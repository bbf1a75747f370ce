import { freshId, h, icon } from '../ui/dom'
import { openDialog } from '../ui/dialog'
import { confirmShortly } from '../ui/messages'

/** Copies the page's address, which holds the view. Where the browser forbids it, shows it to be copied by hand. */
export async function copyLink(): Promise<void> {
  try {
    await navigator.clipboard.writeText(location.href)
    confirmShortly('The link was copied.')
  } catch {
    // Away from https and this machine, browsers lend no clipboard.
    const field = h('input', { type: 'text', readonly: true, value: location.href, id: freshId('link') })
    openDialog('Link to this view', h('div', { class: 'field' }, h('label', { for: field.id }, 'Copy this address'), field))
    field.select()
  }
}

export function shareButton(): HTMLElement {
  const button = h('button', { type: 'button', class: 'secondary' }, icon('link'), 'Copy link')
  button.addEventListener('click', () => void copyLink())
  return button
}
