import { kept } from '../logic/kept'
import type { Token } from './client'

const KEY = 'vesal.token'

/** The bearer token: asked for once, kept for this tab alone, never in an address. */
export class StoredToken implements Token {
  private asking: Promise<boolean> | null = null

  /** `prompt` resolves to what the person typed, or null where they closed the dialog. */
  constructor(
    private readonly prompt: (wrong: boolean) => Promise<string | null>,
    private readonly storage: Pick<Storage, 'getItem' | 'setItem'> = kept(() => sessionStorage),
  ) {}

  get(): string {
    return this.storage.getItem(KEY) ?? ''
  }

  /** Several requests that fail at once ask once. */
  ask(wrong: boolean): Promise<boolean> {
    this.asking ??= this.prompt(wrong)
      .then((typed) => {
        if (typed) this.storage.setItem(KEY, typed)
        return Boolean(typed)
      })
      .finally(() => {
        this.asking = null
      })
    return this.asking
  }
}
