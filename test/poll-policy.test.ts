import { expect, it } from 'vitest'
import { pollRetryMax, pollSoonUs } from '../src/protocol/limits.js'
import { PollPolicy } from '../src/worker/poll-policy.js'

const soonMs = pollSoonUs / 1000
const lateMs = 2 * soonMs

/** How many messages have to come soon before the policy polls. */
function soonCountUntilItPolls(policy: PollPolicy): number {
  let count = 0
  for (; !policy.polls; count += 1) policy.woken(soonMs)
  return count
}

it('polls always, or never, when it is told to', () => {
  const always = new PollPolicy('always')
  const never = new PollPolicy('never')
  for (const policy of [always, never]) {
    policy.woken(soonMs)
    policy.polled(false)
  }
  expect([always.polls, never.polls]).toEqual([true, false])
})

it('does not poll while messages come late', () => {
  const policy = new PollPolicy('adaptive')
  for (let n = 0; n < 10; n += 1) policy.woken(lateMs)
  expect(policy.polls).toBe(false)
})

it('polls once a message has come soon, until it does in vain', () => {
  const policy = new PollPolicy('adaptive')
  policy.woken(soonMs)
  expect(policy.polls).toBe(true)
  policy.polled(true)
  expect(policy.polls).toBe(true)
  policy.polled(false)
  expect(policy.polls).toBe(false)
})

it('tries again the more rarely the more often it was in vain, and forgets that when it was not', () => {
  const policy = new PollPolicy('adaptive')
  const counts = Array.from({ length: 10 }, () => {
    const count = soonCountUntilItPolls(policy)
    policy.polled(false)
    return count
  })
  expect(counts).toEqual([1, 2, 4, 8, 16, 32, 64, 128, pollRetryMax, pollRetryMax])
  soonCountUntilItPolls(policy)
  policy.polled(true)
  policy.polled(false)
  expect(soonCountUntilItPolls(policy)).toBe(2)
})

it('a late message begins the count anew', () => {
  const policy = new PollPolicy('adaptive')
  policy.woken(soonMs)
  policy.polled(false)
  policy.woken(soonMs)
  policy.woken(lateMs)
  policy.woken(soonMs)
  expect(policy.polls).toBe(false)
})
