import { expect, test, vi } from 'vitest'
import { ApiError, Client, type Token } from '../src/api/client'
import { StoredToken } from '../src/api/token'
import { jobForm } from '../src/api/upload'

const json = (value: unknown, status = 200) => new Response(JSON.stringify(value), { status })

function tokens(...typed: string[]): Token & { asked: boolean[] } {
  let held = ''
  const asked: boolean[] = []
  return {
    asked,
    get: () => held,
    ask: async (wrong) => {
      asked.push(wrong)
      held = typed.shift() ?? ''
      return held !== ''
    },
  }
}

const headerOf = (init?: RequestInit) => (init?.headers as Record<string, string> | undefined)?.['Authorization']

test('addresses are relative to the page, so that a prefix of a proxy holds', async () => {
  const fetcher = vi.fn(async () => json([]))
  await new Client(tokens(), fetcher).models()
  expect(fetcher).toHaveBeenCalledWith('./api/models', {})
})

test('names are escaped in addresses', () => {
  expect(new Client(tokens()).resultPath('a/b', 'x y.nii')).toBe('/api/jobs/a%2Fb/results/x%20y.nii')
})

test("an error is told in the server's own sentence", async () => {
  const client = new Client(tokens(), async () => json({ error: 'There is no job x.' }, 404))
  await expect(client.job('x')).rejects.toEqual(new ApiError(404, 'There is no job x.'))
})

test("a proxy's page of errors is told by its status", async () => {
  const client = new Client(tokens(), async () => new Response('<html>', { status: 502 }))
  await expect(client.jobs()).rejects.toThrow('status 502')
})

test('a server that is gone is told', async () => {
  const client = new Client(tokens(), async () => Promise.reject(new TypeError('Failed to fetch')))
  await expect(client.jobs()).rejects.toThrow('does not answer')
})

test('the token is asked for at 401, and again where it was wrong', async () => {
  const token = tokens('wrong', 'right')
  const fetcher = vi.fn(async (_url: string, init?: RequestInit) =>
    headerOf(init) === 'Bearer right' ? json([]) : json({ error: 'A token is needed.' }, 401),
  )
  expect(await new Client(token, fetcher).jobs()).toEqual([])
  expect(token.asked).toEqual([false, true])
  for (const [url] of fetcher.mock.calls) expect(url).not.toContain('right')
})

test('where no token is given the refusal is told', async () => {
  const client = new Client(tokens(), async () => json({ error: 'A token is needed.' }, 401))
  await expect(client.jobs()).rejects.toEqual(new ApiError(401, 'A token is needed.'))
})

test('vesal serve has no view', async () => {
  expect(await new Client(tokens(), async () => json({ error: 'no' }, 404)).view()).toBeNull()
})

test('what has ended is removed, and left alone where it was to be cancelled', async () => {
  const asked: string[] = []
  const answering = (answer: Response) =>
    new Client(tokens(), async (address, init) => {
      asked.push(`${init?.method} ${address}`)
      return answer
    })
  await answering(new Response(null, { status: 204 })).remove('a')
  expect(await answering(json({ id: 'a', status: 'finished' })).cancel('a')).toMatchObject({ status: 'finished' })
  expect(asked).toEqual(['DELETE ./api/jobs/a', 'DELETE ./api/jobs/a?keep_ended=true'])
})

test('several requests ask for the token once, and it stays in the store', async () => {
  const store = new Map<string, string>()
  const storage = { getItem: (key: string) => store.get(key) ?? null, setItem: (key: string, value: string) => store.set(key, value) }
  const prompt = vi.fn(async () => 'secret')
  const token = new StoredToken(prompt, storage as unknown as Storage)
  expect(await Promise.all([token.ask(false), token.ask(false)])).toEqual([true, true])
  expect(prompt).toHaveBeenCalledTimes(1)
  expect(token.get()).toBe('secret')
})

test('the fields of a job come before its files, empty ones not at all', () => {
  const file = new File(['x'], '1.dcm')
  const wishes = { model: 'heart', to: ['nifti', 'glb'], series: ' T1 ', threshold: '', fillSlices: true }
  const form = jobForm(wishes, [{ file, path: 'study/series/1.dcm' }])
  const entries = [...form.entries()]
  expect(entries.slice(0, 4)).toEqual([['model', 'heart'], ['to', 'nifti,glb'], ['series', 'T1'], ['fill_slices', 'true']])
  expect((entries[4]![1] as File).name).toBe('study/series/1.dcm')
})
