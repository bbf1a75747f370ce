import type { Label } from '../api/types'

/**
 * A mask's values as slots 0, 1, 2 ...: slot 0 is background, slot i is `labels[i - 1]`. Values may be sparse or large
 * (1, 7, 420); a texture of colours wants them dense.
 */
export interface Slots {
  labels: Label[]
  slots: Uint8Array
}

export const MOST_LABELS = 255

/** For values that no label names; from Okabe and Ito, told apart by the colour-blind, too. */
const SPARE_COLOURS = ['#e69f00', '#56b4e9', '#009e73', '#f0e442', '#0072b2', '#d55e00', '#cc79a7']

/**
 * Labels and slots of a mask. Values that `known` does not name get a label of their own ("value 7"), so that nothing
 * in the file stays unseen.
 *
 * Throws an Error where the mask has more than 255 different values: that is no label map.
 */
export function toSlots(values: ArrayLike<number>, known: Label[], scale: (value: number) => number = (v) => v): Slots {
  const labels = known.filter(({ value }) => value !== 0)
  const slotOf = new Map<number, number>([[0, 0]])
  labels.forEach(({ value }, index) => slotOf.set(value, index + 1))
  const unknown = new Set<number>()
  const slots = new Uint8Array(values.length)
  let last = NaN
  let lastSlot = 0
  for (let index = 0; index < values.length; index++) {
    const stored = values[index]!
    // Neighbours are mostly alike: a look-up for each voxel would take most of the time.
    if (stored !== last) {
      last = stored
      const value = Math.round(scale(stored))
      let slot = slotOf.get(value)
      if (slot === undefined) {
        unknown.add(value)
        slot = labels.length + unknown.size
        if (slot > MOST_LABELS) throw new Error('This file has more than 255 different values; it is not a mask.')
        slotOf.set(value, slot)
      }
      lastSlot = slot
    }
    slots[index] = lastSlot
  }
  const spare = [...unknown].map((value, index) => ({
    name: `value ${value}`,
    value,
    colour: SPARE_COLOURS[(labels.length + index) % SPARE_COLOURS.length]!,
  }))
  return { labels: [...labels, ...spare], slots }
}

/** >>> rgb('#ff8000') -> [255, 128, 0]; grey for what is no colour. */
export function rgb(colour: string): [number, number, number] {
  const match = /^#([0-9a-f]{2})([0-9a-f]{2})([0-9a-f]{2})$/i.exec(colour)
  if (!match) return [160, 160, 160]
  return [parseInt(match[1]!, 16), parseInt(match[2]!, 16), parseInt(match[3]!, 16)]
}

export interface ColourTable {
  R: number[]
  G: number[]
  B: number[]
  A: number[]
  I: number[]
  labels: string[]
}

/** NiiVue's colour table of slots; the labels in `off` (by value) are left clear. */
export function colourTable(labels: Label[], off: ReadonlySet<number>): ColourTable {
  const table: ColourTable = { R: [0], G: [0], B: [0], A: [0], I: [0], labels: [''] }
  labels.forEach(({ name, value, colour }, index) => {
    const [red, green, blue] = rgb(colour)
    table.R.push(red)
    table.G.push(green)
    table.B.push(blue)
    table.A.push(off.has(value) ? 0 : 255)
    table.I.push(index + 1)
    table.labels.push(name)
  })
  return table
}

/** The label of a slot; null for background. */
export function labelAt(labels: Label[], slot: number): Label | null {
  return labels[slot - 1] ?? null
}

/** Voxels of each label times a voxel's volume, by the label's name. */
export function volumesMl({ labels, slots }: Slots, voxelMl: number): Record<string, number> {
  const counts = new Float64Array(MOST_LABELS + 1)
  for (let index = 0; index < slots.length; index++) counts[slots[index]!]!++
  return Object.fromEntries(labels.map(({ name }, index) => [name, counts[index + 1]! * voxelMl]))
}
