/** A file with its place below the folder that was dropped: `study/series/1.dcm`. */
export interface DroppedFile {
  file: File
  path: string
}

/** Files that systems leave in folders and that belong to no scan. */
const LITTER = new Set(['.ds_store', 'thumbs.db', 'desktop.ini'])

/** What was dropped, folders with all that lies in them. Read at once: the browser empties the list after the event. */
export async function droppedFiles(transfer: DataTransfer): Promise<DroppedFile[]> {
  const items = [...transfer.items].filter(({ kind }) => kind === 'file')
  const found = await Promise.all(
    items.map((item) => {
      const entry = item.webkitGetAsEntry()
      if (entry) return filesOf(entry)
      // What comes from no disk (a mail's attachment, say) has no entry.
      const file = item.getAsFile()
      return file ? [{ file, path: file.name }] : []
    }),
  )
  return inOrder(found.flat().filter(wanted))
}

/** What was chosen by a button; a chosen folder gives its files' relative paths. */
export function chosenFiles(list: FileList): DroppedFile[] {
  return inOrder([...list].map((file) => ({ file, path: file.webkitRelativePath || file.name })).filter(wanted))
}

/**
 * By name, numbers as numbers: of a scan of several channels the server takes the first file for the first channel, and
 * a browser gives what was dropped in any order.
 */
export function inOrder(files: DroppedFile[]): DroppedFile[] {
  return [...files].sort((one, other) => one.path.localeCompare(other.path, 'en', { numeric: true }))
}

function wanted({ path }: DroppedFile): boolean {
  const name = path.slice(path.lastIndexOf('/') + 1).toLowerCase()
  return !LITTER.has(name) && !name.startsWith('._')
}

async function filesOf(entry: FileSystemEntry, below = ''): Promise<DroppedFile[]> {
  const path = below + entry.name
  if (entry.isFile) {
    const file = await new Promise<File>((resolve, reject) => (entry as FileSystemFileEntry).file(resolve, reject))
    return [{ file, path }]
  }
  const found: DroppedFile[] = []
  const reader = (entry as FileSystemDirectoryEntry).createReader()
  for (;;) {
    // A reader gives at most some hundred entries at a time, and none when it is through.
    const some = await new Promise<FileSystemEntry[]>((resolve, reject) => reader.readEntries(resolve, reject))
    if (some.length === 0) return found
    for (const child of some) found.push(...(await filesOf(child, `${path}/`)))
  }
}

/**
 * A line about what was chosen.
 *
 * >>> summary of one file -> 'heart.nii.gz, 1.2 MB'; of a folder -> '107 files from study, 56 MB'
 */
export function summary(files: DroppedFile[], bytes: (count: number) => string): string {
  const size = bytes(files.reduce((sum, { file }) => sum + file.size, 0))
  const first = files[0]
  if (!first) return ''
  if (files.length === 1) return `${first.path}, ${size}`
  const folder = first.path.includes('/') ? ` from ${first.path.split('/')[0]}` : ''
  return `${files.length} files${folder}, ${size}`
}

/** Which file is taken for which channel, where there is one each; else the summary. */
export function chosenText(files: DroppedFile[], channels: string[], bytes: (count: number) => string): string {
  if (channels.length < 2 || files.length !== channels.length) return summary(files, bytes)
  return channels.map((channel, index) => `${channel}: ${files[index]!.path}`).join('; ')
}
