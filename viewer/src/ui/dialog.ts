import { freshId, h, icon } from './dom'

/** A modal dialog; the browser keeps the focus in it, closes it at Escape and gives the focus back. */
export function openDialog(title: string, ...content: (Node | string)[]): HTMLDialogElement {
  const id = freshId('dialog')
  const close = h('button', { type: 'button', class: 'quiet square', 'aria-label': 'Close' }, icon('close'))
  const dialog = h(
    'dialog',
    { 'aria-labelledby': id },
    h('header', { class: 'dialog-head' }, h('h2', { id }, title), close),
    ...content,
  )
  close.addEventListener('click', () => dialog.close())
  dialog.addEventListener('click', (event) => {
    if (event.target === dialog) dialog.close() // the backdrop
  })
  dialog.addEventListener('close', () => dialog.remove())
  document.body.append(dialog)
  dialog.showModal()
  return dialog
}

/** Asks for the token that the server was started with; null where the dialog was closed. */
export function askToken(wrong: boolean): Promise<string | null> {
  return new Promise((resolve) => {
    const field = h('input', { type: 'password', id: freshId('token'), autocomplete: 'off', required: true, autofocus: true })
    const hint = freshId('hint')
    field.setAttribute('aria-describedby', hint)
    let typed: string | null = null
    const form = h(
      'form',
      { class: 'stack' },
      h(
        'p',
        { id: hint, class: wrong ? 'bad' : '' },
        wrong
          ? 'The server refused this token. See that it is the one that the server was started with.'
          : 'This server asks for the token that it was started with. It is kept for this tab alone.',
      ),
      h('label', { for: field.id }, 'Token'),
      field,
      h('div', { class: 'row end' }, h('button', { class: 'primary' }, 'Continue')),
    )
    const dialog = openDialog('Token needed', form)
    form.addEventListener('submit', (event) => {
      event.preventDefault()
      typed = field.value
      dialog.close()
    })
    dialog.addEventListener('close', () => resolve(typed))
  })
}
