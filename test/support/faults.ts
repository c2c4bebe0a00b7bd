/** The library that makes system calls fail: see programs/faults.c. */
import { execFileSync } from 'node:child_process'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

/** Builds it in `folder`; the environment of a process whose files below `prefix` it is to concern. */
export function faultyEnvironment(folder: string, prefix: string): NodeJS.ProcessEnv {
  const library = join(folder, 'faults.so')
  const source = fileURLToPath(new URL('../programs/faults.c', import.meta.url))
  execFileSync(process.env.CC ?? 'cc', ['-O1', '-shared', '-fPIC', '-o', library, source, '-ldl'])
  return {
    LD_PRELOAD: library,
    FAULTS_PREFIX: `${prefix}/`,
    FAULTS_TRACE: join(folder, 'trace'),
    // libuv makes its calls itself.
    UV_USE_IO_URING: '0',
  }
}
