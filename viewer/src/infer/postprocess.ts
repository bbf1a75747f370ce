import { type Components, componentsOf } from './components'
import { membersOf, painted } from './labels_of'
import type { LabelSet, Step } from './model'
import { strides } from './numbers'
import type { Triple } from './place'

/**
 * Does the steps of a model on a contiguous label map, in place: `vesal.infer.postprocess`.
 *
 * `shape` is the file's: the first axis is the fastest in memory.
 */
export function postprocess(map: Uint8Array, shape: Triple, steps: Step[], labels: LabelSet, voxelMm3: number): void {
  const names = (labels.regions.length ? labels.regions : labels.labels).map(({ name }) => name)
  const members = membersOf(labels)
  for (const step of steps) {
    const index = step.of === null ? null : names.indexOf(step.of)
    if (index === -1) throw new Error(`The model's post-processing names ${step.of}, which is none of its classes.`)
    const own = index === null ? null : members[index]!
    const slowestFirst: Triple = [shape[2], shape[1], shape[0]]
    if (step.do === 'fill_holes') fillHoles(map, slowestFirst, own!, painted(labels)[index!]!)
    else remove(map, slowestFirst, step, own, index === null ? [] : leftBehind(labels, members, index), voxelMm3)
  }
}

function remove(
  map: Uint8Array,
  shape: Triple,
  step: Step,
  own: boolean[] | null,
  left: number[],
  voxelMm3: number,
): void {
  const mask = map.map((value) => Number(own === null ? value !== 0 : own[value]))
  const under = (voxels: number) => voxels * voxelMm3 < step.mm3 * (1 - 1e-9) || voxels < step.voxels
  const leave = (gone: (at: number) => boolean) => {
    for (let at = 0; at < map.length; at++) if (mask[at] && gone(at)) map[at] = left[map[at]!] ?? 0
  }
  if (step.do === 'min_volume') {
    const count = mask.reduce((sum, one) => sum + one, 0)
    if (count && under(count)) leave(() => true)
    return
  }
  const found = componentsOf(mask, shape, true)
  if (found.sizes.length === 1) return
  const largest = largestOf(found, shape)
  const gone = found.sizes.map((size, number) => (step.do === 'largest' ? number !== largest : under(size)))
  leave((at) => gone[found.numbers[at]!]!)
}

/** The number of the largest component; of equal ones that which comes first by the file's first axis. */
function largestOf({ numbers, sizes }: Components, [z, y, x]: Triple): number {
  const most = sizes.slice(1).reduce((one, other) => Math.max(one, other), 0)
  const tied = new Set(sizes.flatMap((size, number) => (number && size === most ? [number] : [])))
  if (tied.size === 1) return [...tied][0]!
  for (let i = 0; i < x; i++) {
    for (let j = 0; j < y; j++) {
      for (let k = 0; k < z; k++) {
        const number = numbers[i + x * (j + y * k)]!
        if (tied.has(number)) return number
      }
    }
  }
  throw new Error('A component has a voxel.')
}

/** What each contiguous value becomes where it leaves a class: background, or the region around it. */
function leftBehind(labels: LabelSet, members: boolean[][], index: number): number[] {
  const table = Array<number>(256).fill(0)
  if (labels.regions.length === 0) return table
  const paint = painted(labels)
  for (let outer = 0; outer < index; outer++) {
    members[outer]!.forEach((is, value) => {
      if (is) table[value] = paint[outer]!
    })
  }
  return table
}

/** Background that lies wholly within a class becomes the class. */
function fillHoles(map: Uint8Array, shape: Triple, own: boolean[], value: number): void {
  const { numbers, sizes } = componentsOf(map.map((one) => Number(one === 0)), shape, false)
  const inside = sizes.map((_, number) => number > 0)
  const steps = strides(shape)
  let at = 0
  for (let i = 0; i < shape[0]; i++) {
    for (let j = 0; j < shape[1]; j++) {
      for (let k = 0; k < shape[2]; k++, at++) {
        const number = numbers[at]!
        if (!inside[number]) continue
        const place = [i, j, k]
        for (let axis = 0; axis < 3; axis++) {
          const [first, last] = [place[axis] === 0, place[axis] === shape[axis]! - 1]
          const strange = (there: number) => map[there] !== 0 && !own[map[there]!]
          if (first || last || strange(at - steps[axis]!) || strange(at + steps[axis]!)) inside[number] = false
        }
      }
    }
  }
  for (let voxel = 0; voxel < map.length; voxel++) if (inside[numbers[voxel]!]) map[voxel] = value
}
