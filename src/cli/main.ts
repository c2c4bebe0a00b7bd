#!/usr/bin/env node
/**
 * The command `mylibsql`. Exit codes: 0 when it was done (and proven), 1 when something failed or differs, 2 when it was
 * called wrongly, 130 when it was interrupted before there was anything to prove.
 */
import { createRequire } from 'node:module'
import { Command, CommanderError } from 'commander'
import { describeError } from './describe-error.js'
import { addFollowCommand } from './follow.js'
import { InterruptedError } from './interruption.js'
import { load } from './load.js'
import { addLoadOptions, checkTogether, type LoadOptions } from './options.js'
import { addShowCommand } from './show.js'
import { tolerateClosedPipes } from './standard-output.js'
import { addStoreCommands } from './store-commands.js'
import { UsageError } from './usage-error.js'

const exitCodes = { ok: 0, failed: 1, usage: 2, interrupted: 130 }

function command(): Command {
  const program = new Command('mylibsql')
    .description('SQLite replication inside your application')
    .version((createRequire(import.meta.url)('../../package.json') as { version: string }).version)
    .exitOverride()
  const description =
    'Load test: transactions on a primary, checkpoints to log files, two replicas that follow and are read; ' +
    'at the end the result is proven'
  addLoadOptions(program.command('load').description(description)).action(async (options: LoadOptions) => {
    const outcome = await load(checkTogether(options))
    process.exitCode = exitCodes[outcome]
  })
  addStoreCommands(program)
  addFollowCommand(program)
  addShowCommand(program)
  for (const each of program.commands) {
    each.configureOutput({ outputError: (text, write) => write(`${text}${knownOptions(text, each)}`) })
  }
  return program
}

function knownOptions(errorText: string, { options }: Command): string {
  if (!errorText.includes('unknown option')) return ''
  return `Known options are ${options.map(({ long }) => `${long}, `).join('')}and --help\n`.replace(
    ', and',
    ' and',
  )
}

tolerateClosedPipes()
try {
  await command().parseAsync()
} catch (error) {
  process.exitCode = exitCodes.failed
  if (error instanceof CommanderError) {
    process.exitCode = error.exitCode === 0 ? exitCodes.ok : exitCodes.usage
  } else if (error instanceof UsageError) {
    process.stderr.write(`error: ${error.message}\n`)
    process.exitCode = exitCodes.usage
  } else if (error instanceof InterruptedError) {
    process.exitCode = exitCodes.interrupted
  } else {
    process.stderr.write(`error: ${describeError(error)}\n`)
  }
}
