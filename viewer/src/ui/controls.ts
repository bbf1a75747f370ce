import { freshId, h } from './dom'

/** A part of the side panel. */
export function panel(title: string, ...content: (Node | string | null)[]): HTMLElement {
  const id = freshId('panel')
  return h('section', { class: 'panel', 'aria-labelledby': id }, h('h2', { id }, title), ...content)
}

/** Radio buttons in a row that look like one switch; arrow keys move between them. */
export function choice<T extends string>(
  legend: string,
  options: [T, string][],
  chosen: T,
  change: (value: T) => void,
): { element: HTMLElement; choose: (value: T) => void } {
  const name = freshId('choice')
  const inputs = new Map<T, HTMLInputElement>()
  const parts = options.map(([value, text]) => {
    const input = h('input', { type: 'radio', name, value, checked: value === chosen })
    input.addEventListener('change', () => change(value))
    inputs.set(value, input)
    return h('label', {}, input, h('span', {}, text))
  })
  const element = h('fieldset', { class: 'choice' }, h('legend', { class: 'visually-hidden' }, legend), ...parts)
  return {
    element,
    choose: (value) => {
      const input = inputs.get(value)
      if (input) input.checked = true
    },
  }
}

/** A slider from 0 to 100 per cent; `change` gets 0..1, at most once a frame. */
export function slider(
  text: string,
  value: number,
  change: (value: number) => void,
): { element: HTMLElement; put: (value: number) => void } {
  const id = freshId('slider')
  const shown = h('output', { for: id })
  const input = h('input', { type: 'range', id, min: 0, max: 100, step: 5 })
  const put = (share: number) => {
    input.value = String(Math.round(share * 100))
    shown.textContent = `${input.value} %`
  }
  let waiting = 0
  input.addEventListener('input', () => {
    shown.textContent = `${input.value} %`
    cancelAnimationFrame(waiting)
    waiting = requestAnimationFrame(() => change(Number(input.value) / 100))
  })
  put(value)
  return { element: h('div', { class: 'slider' }, h('label', { for: id }, text), shown, input), put }
}

export function checkbox(
  text: string | (Node | string)[],
  checked: boolean,
  change: (checked: boolean) => void,
): { element: HTMLLabelElement; put: (checked: boolean) => void } {
  const input = h('input', { type: 'checkbox', checked })
  input.addEventListener('change', () => change(input.checked))
  const element = h('label', { class: 'check' }, input, ...(typeof text === 'string' ? [text] : text))
  return { element, put: (value) => (input.checked = value) }
}

export function select(
  text: string,
  groups: [string, [string, string][]][],
  value: string,
  change: (value: string) => void,
): { element: HTMLElement; put: (value: string) => void } {
  const id = freshId('select')
  const options = (list: [string, string][]) => list.map(([key, shown]) => h('option', { value: key }, shown))
  const list = h('select', { id })
  for (const [group, entries] of groups) {
    list.append(...(group ? [h('optgroup', { label: group }, ...options(entries))] : options(entries)))
  }
  list.value = value
  list.addEventListener('change', () => change(list.value))
  return { element: h('div', { class: 'field' }, h('label', { for: id }, text), list), put: (key) => (list.value = key) }
}

/** A button that opens the system's dialog of files. `folder` lets a folder be chosen. */
export function fileButton(
  content: (Node | string)[],
  options: { multiple?: boolean; folder?: boolean; className?: string },
  take: (files: FileList) => void,
): HTMLElement {
  const { multiple = false, folder = false, className = '' } = options
  const input = h('input', { type: 'file', multiple, class: 'visually-hidden', tabindex: -1, 'aria-hidden': 'true' })
  if (folder) input.webkitdirectory = true
  input.addEventListener('change', () => {
    if (input.files?.length) take(input.files)
    input.value = '' // the same file may be chosen again
  })
  const button = h('button', { type: 'button', class: className }, ...content)
  button.addEventListener('click', () => input.click())
  return h('span', { class: 'file-button' }, button, input)
}
