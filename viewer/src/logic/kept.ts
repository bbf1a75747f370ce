type Kept = Pick<Storage, 'getItem' | 'setItem'>

/** What a browser keeps for the page. Where it lends no storage (all cookies are blocked, say), until the page is left. */
export function kept(storage: () => Storage): Kept {
  try {
    const found = storage()
    found.getItem('') // even to look throws there
    return found
  } catch {
    const held = new Map<string, string>()
    return { getItem: (key) => held.get(key) ?? null, setItem: (key, value) => void held.set(key, value) }
  }
}

/** For all visits. */
export const settings = kept(() => localStorage)
