import { strides } from './numbers'
import type { Triple } from './place'

export interface Components {
  /** Of each voxel the number of its component, from 1; 0 outside. */
  numbers: Int32Array
  /** Voxels of each number, those of 0 first. */
  sizes: number[]
}

/**
 * Connected components of what is not 0, numbered in the order of their first voxels.
 *
 * With `corners` voxels that touch at an edge or a corner belong together, else only those that share a face.
 */
export function componentsOf(mask: ArrayLike<number>, shape: Triple, corners: boolean): Components {
  const before = neighboursBefore(corners)
  const [sa, sb] = strides(shape) as Triple
  const numbers = new Int32Array(mask.length)
  const parents: number[] = [0]
  const root = (number: number) => {
    let top = number
    while (parents[top] !== top) top = parents[top]!
    while (parents[number] !== top) [parents[number], number] = [top, parents[number]!]
    return top
  }
  let at = 0
  for (let i = 0; i < shape[0]; i++) {
    for (let j = 0; j < shape[1]; j++) {
      for (let k = 0; k < shape[2]; k++, at++) {
        if (!mask[at]) continue
        let own = 0
        for (const [di, dj, dk] of before) {
          const [y, z] = [j + dj, k + dk]
          if (i + di < 0 || y < 0 || y >= shape[1] || z < 0 || z >= shape[2]) continue
          const other = numbers[at + di * sa + dj * sb + dk]!
          if (!other) continue
          const top = root(other)
          if (!own) own = top
          else if (top !== own) {
            const [low, high] = top < own ? [top, own] : [own, top]
            parents[high] = own = low
          }
        }
        if (!own) {
          own = parents.length
          parents.push(own)
        }
        numbers[at] = own
      }
    }
  }
  return renumbered(numbers, parents.map((_, number) => (number ? root(number) : 0)))
}

function renumbered(numbers: Int32Array, roots: number[]): Components {
  const names = new Map<number, number>([[0, 0]])
  const sizes = [0]
  for (let at = 0; at < numbers.length; at++) {
    const top = roots[numbers[at]!]!
    let name = names.get(top)
    if (name === undefined) {
      name = names.size
      names.set(top, name)
      sizes.push(0)
    }
    numbers[at] = name
    sizes[name]!++
  }
  return { numbers, sizes }
}

/** The neighbours that come before a voxel in memory. */
function neighboursBefore(corners: boolean): Triple[] {
  const steps = [-1, 0, 1]
  const all = steps.flatMap((a) => steps.flatMap((b) => steps.map((c): Triple => [a, b, c])))
  const earlier = all.slice(0, 13)
  return corners ? earlier : earlier.filter(([a, b, c]) => Math.abs(a) + Math.abs(b) + Math.abs(c) === 1)
}
