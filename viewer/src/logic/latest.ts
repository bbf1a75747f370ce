/** Of work that was begun several times, which alone counts: that which was begun last, however long others take. */
export class Latest {
  private count = 0

  /** Begins; what it returns tells whether nothing was begun since. */
  begin(): () => boolean {
    const own = ++this.count
    return () => own === this.count
  }
}
