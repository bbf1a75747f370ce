/** A record whose changes are heard. */
export class Store<T extends object> {
  private readonly listeners = new Set<(now: T, changed: ReadonlySet<keyof T>) => void>()

  constructor(private current: T) {}

  get now(): Readonly<T> {
    return this.current
  }

  /** Takes new values; listeners hear which of them differ from before. */
  set(values: Partial<T>): void {
    const changed = new Set(
      (Object.keys(values) as (keyof T)[]).filter((name) => values[name] !== this.current[name]),
    )
    if (changed.size === 0) return
    this.current = { ...this.current, ...values }
    for (const listener of this.listeners) listener(this.current, changed)
  }

  /** Calls `listener` when one of `names` changes, and once at the start. */
  watch(names: (keyof T)[], listener: (now: T) => void): void {
    this.listeners.add((now, changed) => {
      if (names.some((name) => changed.has(name))) listener(now)
    })
    listener(this.current)
  }
}
