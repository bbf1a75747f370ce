import { run } from '../app'
import type { WebModel } from '../infer/model'
import { showError } from '../ui/messages'
import { LocalServer } from './local_server'

async function begin(): Promise<void> {
  let model: WebModel
  try {
    model = (await (await fetch('./model.json', { cache: 'no-cache' })).json()) as WebModel
  } catch {
    throw new Error('model.json cannot be read beside this page. Open the folder by a web server, such as vesal view FOLDER.')
  }
  await run(new LocalServer(model))
}

begin().catch((error: unknown) => showError(error instanceof Error ? error : String(error)))
