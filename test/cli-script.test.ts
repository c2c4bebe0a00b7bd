/** Transaction scripts of the load test, without running them. */
import { describe, expect, it } from 'vitest'
import { Script } from '../dist/cli/script.js'

describe('scripts', () => {
  const parse = (text: string) => Script.parse(text, 'x.sql', ['scale'])
  const draw = (text: string, scale = 2) => parse(text).draw(new Map([['scale', scale]]))

  it('draw variables for each transaction and bind them', () => {
    const script = parse(
      '\\set a random(1, 3 * :scale)\n\\set b :a * 10\nUPDATE t SET x = :b WHERE y = :a -- :no;\n;',
    )
    const seen = new Set<unknown>()
    for (let i = 0; i < 300; i++) {
      const [statement, ...others] = script.draw(new Map([['scale', 2]]))
      expect(others).toEqual([])
      expect(statement!.sql).toBe('UPDATE t SET x = ? WHERE y = ?')
      const [b, a] = statement!.params as number[]
      expect(b).toBe(a! * 10)
      seen.add(a)
    }
    expect([...seen].sort()).toEqual([1, 2, 3, 4, 5, 6])
  })

  it('leave quotes and comments alone', () => {
    expect(draw(`SELECT ';:a', ":b", [:c;], \`:d\` /* ; :e */ FROM t; SELECT 'it''s; ok'`)).toEqual([
      { sql: `SELECT ';:a', ":b", [:c;], \`:d\`  FROM t`, params: [] },
      { sql: `SELECT 'it''s; ok'`, params: [] },
    ])
  })

  it('pass over BEGIN and END around them, take values in the order of the lines', () => {
    expect(
      draw('\\set a 1\nBEGIN IMMEDIATE;\nSELECT :a;\n\\set a -2\nSELECT :a;\nCOMMIT TRANSACTION;'),
    ).toEqual([
      { sql: 'SELECT ?', params: [1] },
      { sql: 'SELECT ?', params: [-2] },
    ])
  })

  it.each([
    ['SELECT :a', /x.sql uses :a, which no \\set above it gives a value; known are :scale/],
    ['\\set a b\nSELECT 1', /x.sql, line 1: "b" is neither an integer nor a :variable/],
    ['\\set a 1 + 1\nSELECT 1', /"1 \+ 1" is neither/],
    ['\\set', /"\\set" is not "\\set name value"/],
    ['-- nothing', /x.sql has no SQL statement/],
  ])('refuse %j', (text, message) => {
    expect(() => parse(text)).toThrow(message)
  })

  it('refuse ends the wrong way round when drawn', () => {
    expect(() => draw('\\set a random(:scale, 1)\nSELECT :a')).toThrow(
      /random\(2, 1\) has its ends the wrong way/,
    )
  })
})
