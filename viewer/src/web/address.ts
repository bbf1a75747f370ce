/** The address of a file beside the page, from a script of it. */
export function fileAddress(name: string): string {
  // Scripts lie in assets/, a level below the page.
  return new URL(`../${name}`, self.location.href).href
}

/**
 * A file beside the page, as it is there now: what the browser kept may be of an earlier export, and all files of a model
 * belong together. Throws an Error that names it.
 */
export async function fileBeside(name: string): Promise<Response> {
  let answer: Response
  try {
    answer = await fetch(fileAddress(name), { cache: 'no-cache' })
  } catch {
    throw new Error(`${name} cannot be loaded. See whether the page's web server is still running, then try again.`)
  }
  if (!answer.ok) throw new Error(`${name} is not beside the page (status ${answer.status}); put all files of the export there.`)
  return answer
}
