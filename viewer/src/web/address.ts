/** The address of a file beside the page, from a script of it. */
export function fileAddress(name: string): string {
  // Scripts lie in assets/, a level below the page.
  return new URL(`../${name}`, self.location.href).href
}
