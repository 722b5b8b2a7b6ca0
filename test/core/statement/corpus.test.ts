import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { classify } from '#core/statement/classify.ts';
import { TokenKind, tokenize } from '#core/statement/tokenizer.ts';
import { classOf } from '../../../proxy-container/src/requests/route.ts';
import { type CorpusClass, CQL_CORPUS } from '../../support/cql-corpus.ts';

/** As the proxy sees it, with what it treats apart among the definitions. */
function seenAs(text: string): CorpusClass {
  const statement = classify(text);
  if (statement.kind === 'use') return 'use';
  return statement.kind === 'other' && !statement.isRead ? 'unknown' : classOf(statement);
}

/** The words outside of strings and quoted names changed, and something between all tokens. */
function respelled(text: string, wordOf: (word: string) => string, between: (index: number) => string): string {
  const tokens = tokenize(text);
  if (tokens.isBroken) return text;
  let spelled = between(0);
  let from = 0;
  for (let index = 0; index < tokens.count; index++) {
    const [start, end] = [tokens.starts[index]!, tokens.ends[index]!];
    const token = text.slice(start, end);
    const gap = text.slice(from, start);
    const isLineComment = /--|\/\//.test(gap);
    // Nothing comes between the parts of `keyspace.table` or between a sign and its number, so that texts stay valid.
    spelled += isLineComment ? gap : gap === '' ? '' : between(index + 1);
    spelled += tokens.kinds[index] === TokenKind.Word ? wordOf(token) : token;
    from = end;
  }
  return spelled + text.slice(from);
}

describe.each(['read', 'write', 'lwt', 'definition', 'role', 'use', 'unknown'] as const)('a text that is %s', (is) => {
  test.each(CQL_CORPUS.filter((entry) => entry.is === is).map(({ text }) => text))('%j', (text) => {
    expect(seenAs(text)).toBe(is);
    expect(seenAs(`  ;\n${text}`), 'behind an empty statement').toBe(is);
    expect(seenAs(`-- SELECT\n${text}`), 'behind a comment').toBe(is);
    expect(seenAs(`// INSERT INTO\r\n/* UPDATE ' " */${text}`), 'behind comments').toBe(is);
    if (!tokenize(text).isBroken) expect(seenAs(`${text} ; `), 'with an end').toBe(is);
    expect(
      seenAs(
        respelled(
          text,
          (word) => word.toLowerCase(),
          () => ' ',
        ),
      ),
      'in lower case',
    ).toBe(is);
    expect(
      seenAs(
        respelled(
          text,
          (word) => word.toUpperCase(),
          () => '\t\n',
        ),
      ),
      'in upper case',
    ).toBe(is);
  });
});

const gap = fc.constantFrom(
  ' ',
  '\n\t ',
  '\r\n',
  '\u00a0',
  '/* INSERT */',
  '/**/',
  "/* ' unbalanced */",
  ' -- BEGIN BATCH\n',
  ' // " IF EXISTS\n',
  ' /* 数据 */ ',
);

test('comments, white space and case never change what a text is', () => {
  fc.assert(
    fc.property(
      fc.constantFrom(...CQL_CORPUS),
      fc.infiniteStream(gap),
      fc.infiniteStream(fc.boolean()),
      ({ text, is }, gaps, cases) => {
        const caseOf = (word: string): string =>
          [...word].map((one) => (cases.next().value ? one.toUpperCase() : one.toLowerCase())).join('');
        const spelled = respelled(text, caseOf, () => gaps.next().value as string);
        expect([seenAs(spelled), spelled]).toEqual([is, spelled]);
      },
    ),
    { numRuns: 1500 },
  );
});

test('whatever stands in strings, quoted names and comments, a read stays a read and a write a write', () => {
  fc.assert(
    fc.property(fc.string({ unit: 'grapheme', maxLength: 40 }), (content) => {
      const string = `'${content.replaceAll("'", "''")}'`;
      const name = `"x${content.replaceAll('"', '""')}"`;
      const comment = `/* ${content.replaceAll('*/', '')} */`;
      expect(seenAs(`SELECT ${name} FROM t ${comment} WHERE v = ${string}`)).toBe('read');
      expect(seenAs(`${comment} INSERT INTO ${name} (id) VALUES (${string})`)).toBe('write');
      expect(seenAs(`UPDATE t SET ${name} = ${string} WHERE id = ${string} ${comment} IF EXISTS`)).toBe('lwt');
    }),
  );
});

test('a text of any words is never both a read and a write', () => {
  const word = fc.constantFrom(
    ...'SELECT INSERT UPDATE DELETE BEGIN BATCH APPLY FROM INTO VALUES SET WHERE IF USE t ( ) ? = , ; LIST CREATE'.split(
      ' ',
    ),
  );
  fc.assert(
    fc.property(fc.array(word, { maxLength: 12 }), (words) => {
      const { isRead, kind } = classify(words.join(' '));
      const first = words.find((one) => one !== ';');
      expect(isRead).toBe(first === 'SELECT' || first === 'LIST');
      if (isRead) expect(['select', 'role']).toContain(kind);
    }),
  );
});
