import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdir, mkdtemp, readdir, rm, stat, utimes, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'

const library = new URL('../dist/main/index.js', import.meta.url).href
const root = fileURLToPath(new URL('..', import.meta.url))

/** TMPDIR of the children: nobody else's directories are in it. */
let folder: string
const children = new Set<ChildProcess>()
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'temporary-test-'))
})
afterEach(async () => {
  for (const child of children) if (child.exitCode === null) child.kill('SIGKILL')
  children.clear()
  await rm(folder, { recursive: true, force: true })
})

function start(script: string, ...flags: string[]): ChildProcess {
  const source = `import { Log, Snapshot } from ${JSON.stringify(library)}\n${script}`
  const child = spawn(process.execPath, [...flags, '--input-type=module', '-e', source], {
    cwd: root,
    env: { ...process.env, TMPDIR: folder },
    stdio: ['pipe', 'pipe', 'inherit'],
  })
  children.add(child)
  return child
}

async function run(script: string, ...flags: string[]): Promise<string> {
  const child = start(script, ...flags)
  let text = ''
  child.stdout?.on('data', (chunk) => {
    text += chunk
  })
  const [code] = await once(child, 'close')
  expect(code).toBe(0)
  return text
}

/** Waits for the first line of a child that stays. */
const ready = async (child: ChildProcess): Promise<string> => String((await once(child.stdout!, 'data'))[0])

const directories = async () => (await readdir(folder)).filter((name) => name.startsWith('mylibsql-'))

describe('a process', () => {
  it('ends by itself, at once, and takes its files along', async () => {
    const output = await run(`
      const snapshot = await Snapshot.blank()
      const log = await Log.open(new URL('file://' + process.env.TMPDIR + '/x.log')).catch(() => undefined)
      process.stdout.write(JSON.stringify({ path: snapshot.path, doneMs: Date.now() }))`)
    const { path, doneMs } = JSON.parse(output)
    expect(path.startsWith(join(folder, 'mylibsql-'))).toBe(true)
    expect(Date.now() - doneMs).toBeLessThan(4000)
    expect(await directories()).toEqual([])
  })

  it('takes its files along when it is told to exit', async () => {
    await run(`await Snapshot.blank(); process.exit(0)`)
    expect(await directories()).toEqual([])
  })

  it('removes what a killed one left behind, and nothing of one that lives', async () => {
    const killed = start(`await Snapshot.blank(); console.log('ready'); setInterval(() => {}, 1000)`)
    const living = start(
      `const s = await Snapshot.blank(); console.log(s.path); process.stdin.on('data', () => process.exit())`,
    )
    await ready(killed)
    const path = (await ready(living)).trim()
    killed.kill('SIGKILL')
    await once(killed, 'exit')
    expect(await directories()).toHaveLength(2)
    await run(`await Snapshot.blank(); await new Promise((resolve) => setTimeout(resolve, 300))`)
    expect(await directories()).toHaveLength(1)
    await stat(path)
    living.stdin?.write('x')
    await once(living, 'exit')
    expect(await directories()).toEqual([])
  })

  it('leaves directories that are being made, and files that are not ours', async () => {
    await mkdir(join(folder, 'mylibsql-1-fresh'))
    await mkdir(join(folder, 'mylibsql-1-old'))
    await utimes(join(folder, 'mylibsql-1-old'), 1, 1)
    await mkdir(join(folder, 'mylibsql-1-full'))
    await writeFile(join(folder, 'mylibsql-1-full', 'something'), '')
    await utimes(join(folder, 'mylibsql-1-full'), 1, 1)
    await writeFile(join(folder, 'mylibsql-1-file'), '')
    await run(`await Snapshot.blank(); await new Promise((resolve) => setTimeout(resolve, 300))`)
    expect((await directories()).sort()).toEqual(['mylibsql-1-file', 'mylibsql-1-fresh', 'mylibsql-1-full'])
  })

  it('has a directory for each thread that uses the library', async () => {
    await run(`
      import { Worker } from 'node:worker_threads'
      import { readdirSync } from 'node:fs'
      const main = await Snapshot.blank()
      const worker = new Worker(\`
        import(${JSON.stringify(library)}).then(async ({ Snapshot }) => {
          const snapshot = await Snapshot.blank()
          const { parentPort } = await import('node:worker_threads')
          parentPort.postMessage(snapshot.path)
        })\`, { eval: true })
      const path = await new Promise((resolve) => worker.once('message', resolve))
      if (path.startsWith(main.path.slice(0, -5))) throw new Error('the same directory')
      await new Promise((resolve) => worker.once('exit', resolve))
      const left = readdirSync(process.env.TMPDIR).filter((name) => name.startsWith('mylibsql-'))
      if (left.length !== 1) throw new Error('left: ' + left)`)
    expect(await directories()).toEqual([])
  })

  it('removes the file of an object that is garbage collected, not of one in use', async () => {
    await run(
      `
      import { existsSync } from 'node:fs'
      import { setTimeout as sleep } from 'node:timers/promises'
      let paths = []
      const kept = await Snapshot.blank()
      await (async () => {
        for (let i = 0; i < 3; i++) paths.push((await Snapshot.blank()).path)
      })()
      for (let i = 0; i < 100 && paths.some((path) => existsSync(path)); i++) { gc(); await sleep(10) }
      if (paths.some((path) => existsSync(path))) throw new Error('still there')
      if (!existsSync(kept.path)) throw new Error('gone')
      // Nothing refers to the snapshot but the operation under way.
      const appended = (await Snapshot.blank()).append([])
      for (let i = 0; i < 10; i++) { gc(); await sleep(1) }
      await appended`,
      '--expose-gc',
    )
  })
})
