/**
 * To the nearest whole number, halves to the even one, as Python rounds.
 *
 * >>> roundEven(2.5), roundEven(3.5) -> 2, 4
 */
export function roundEven(value: number): number {
  const low = Math.floor(value)
  const part = value - low
  if (part < 0.5) return low
  if (part > 0.5) return low + 1
  return low % 2 === 0 ? low : low + 1
}

export function product(values: readonly number[]): number {
  return values.reduce((all, one) => all * one, 1)
}

/** Distance in memory of neighbours along each axis; the last axis is the fastest. */
export function strides(shape: readonly number[]): number[] {
  const found = shape.map(() => 1)
  for (let axis = shape.length - 2; axis >= 0; axis--) found[axis] = found[axis + 1]! * shape[axis + 1]!
  return found
}

const FLOAT = new Float32Array(1)
const BITS = new Uint32Array(FLOAT.buffer)
/** Numbers under it are multiples of a fixed step in half precision. */
const SUBNORMAL = 2 ** -14

/** Of a number in single precision the nearest in half precision, halves to even. */
export function half(given: number): number {
  const value = Math.fround(given)
  const size = Math.abs(value)
  if (!(size < 65520)) return Number.isNaN(value) ? value : Math.sign(value) * Infinity
  if (size < SUBNORMAL) return roundEven(value * 2 ** 24) / 2 ** 24
  FLOAT[0] = value
  // The 13 bits that half precision lacks are rounded away.
  BITS[0] = (BITS[0]! + 0xfff + ((BITS[0]! >>> 13) & 1)) & ~0x1fff
  return FLOAT[0]
}
