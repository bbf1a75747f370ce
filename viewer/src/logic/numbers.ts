/** Numbers and times as people read them. */

/** >>> bytesText(1536) -> '1.5 kB'; decimal units, as file managers show them. */
export function bytesText(count: number): string {
  const units = ['bytes', 'kB', 'MB', 'GB', 'TB']
  let power = 0
  while (count >= 999.5 && power < units.length - 1) {
    count /= 1000
    power += 1
  }
  return `${power && count < 9.95 ? count.toFixed(1) : Math.round(count)} ${units[power]}`
}

/** Three figures are enough for a volume: '0.52 ml', '48.3 ml', '1240 ml'. */
export function mlText(ml: number): string {
  return `${ml.toFixed(ml < 10 ? 2 : ml < 100 ? 1 : 0)} ml`
}

/** The same figures for both ends: '0.48 to 0.57 ml'. */
export function intervalText({ low, high }: { low: number; high: number }): string {
  const figures = high < 10 ? 2 : high < 100 ? 1 : 0
  return `${low.toFixed(figures)} to ${high.toFixed(figures)} ml`
}

/** Millimetres of a place, with a real minus sign. */
export function mmText(mm: number): string {
  return mm.toFixed(1).replace(/^-(0\.0)$/, '$1').replace('-', '−')
}

/** A voxel's value: whole numbers whole, others to four figures. */
export function valueText(value: number): string {
  const text = Number.isInteger(value) ? String(value) : String(Number(value.toPrecision(4)))
  return text.replace('-', '−')
}

/** A time as the reader's own place writes it. */
export function dateText(iso: string): string {
  return new Date(iso).toLocaleString(undefined, { dateStyle: 'medium', timeStyle: 'short' })
}

/** >>> 'just now', '5 minutes ago', '3 hours ago', else the local date. */
export function agoText(iso: string | null, now: Date = new Date()): string {
  if (!iso) return ''
  const then = new Date(iso)
  const minutes = Math.round((now.getTime() - then.getTime()) / 60_000)
  if (minutes < 1) return 'just now'
  if (minutes < 60) return minutes === 1 ? '1 minute ago' : `${minutes} minutes ago`
  const hours = Math.round(minutes / 60)
  if (hours < 24) return hours === 1 ? '1 hour ago' : `${hours} hours ago`
  return dateText(iso)
}
