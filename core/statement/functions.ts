import { TokenCursor } from './token-cursor.ts';
import { TokenKind, type Tokens, tokenize } from './tokenizer.ts';

/** The types that replaced functions have. */
export type GeneratedType = 'timeuuid' | 'uuid' | 'timestamp' | 'date' | 'time' | 'bigint';

/** A call that yields something else each time, with the conversions around it that are evaluated along. */
export interface GeneratedCall {
  /** What is generated: the type of the innermost function. */
  readonly source: 'timeuuid' | 'uuid' | 'timestamp' | 'date' | 'time';
  /** From the inside out, for example ['timestamp', 'bigint'] for toUnixTimestamp(toTimestamp(now())). */
  readonly conversions: readonly ('timestamp' | 'date' | 'bigint')[];
  /** Of the whole. */
  readonly type: GeneratedType;
}

/** A bind marker that was put in the place of a function. */
export interface InsertedMarker {
  /** Its index among all markers of the new text. */
  readonly position: number;
  /** When the text's other markers are named. */
  readonly name?: string;
  readonly call: GeneratedCall;
}

const GENERATORS: ReadonlyMap<string, GeneratedCall['source']> = new Map([
  ['now', 'timeuuid'],
  ['uuid', 'uuid'],
  ['currenttimeuuid', 'timeuuid'],
  ['current_timeuuid', 'timeuuid'],
  ['currenttimestamp', 'timestamp'],
  ['current_timestamp', 'timestamp'],
  ['currentdate', 'date'],
  ['current_date', 'date'],
  ['currenttime', 'time'],
  ['current_time', 'time'],
]);

const CONVERSIONS: ReadonlyMap<string, 'timestamp' | 'date' | 'bigint'> = new Map([
  ['totimestamp', 'timestamp'],
  ['to_timestamp', 'timestamp'],
  ['dateof', 'timestamp'],
  ['todate', 'date'],
  ['to_date', 'date'],
  ['tounixtimestamp', 'bigint'],
  ['to_unix_timestamp', 'bigint'],
  ['unixtimestampof', 'bigint'],
]);

/** Functions whose result depends on their arguments only (org.apache.cassandra.cql3.functions, Scylla's own). */
const DETERMINISTIC =
  /^(token|cast|abs|exp|log|log10|round|expr|tojson|to_json|fromjson|from_json|(min|max)_?timeuuid|\w+_?as_?blob|blob_?as_?\w+|mask_\w+|map_(keys|values)|collection_\w+|similarity_\w+|scylla_\w+)$/;

/** Words before a parenthesis that are no function. */
const NOT_FUNCTIONS = new Set(
  'values in and where set if not or as using json default by order limit contains key like is exists timestamp ttl into from'.split(
    ' ',
  ),
);

interface FoundCall {
  readonly call: GeneratedCall;
  /** Token indexes [start, end). */
  readonly start: number;
  readonly end: number;
}

/** The functions in the tokens [start, end) of a mutation, by what is known of them. */
export function findFunctions(
  tokens: Tokens,
  start: number,
  end: number,
): { nonDeterministic: readonly string[]; unknownFunctions: readonly string[] } {
  const cursor = new TokenCursor(tokens, start, end);
  const nonDeterministic: string[] = [];
  const unknownFunctions: string[] = [];
  // The parenthesis behind the table of an INSERT is no call.
  if (cursor.takeWord('insert')) cursor.skipTo(() => cursor.isWord('values') || cursor.isWord('json'));
  for (; cursor.at < end; cursor.at++) {
    const name = functionNameAt(cursor);
    if (name === undefined || CONVERSIONS.has(name) || DETERMINISTIC.test(name) || NOT_FUNCTIONS.has(name)) continue;
    const isGenerator = GENERATORS.has(name) && cursor.isSymbol(')', 2) && !isForeign(tokens, cursor.at);
    (isGenerator ? nonDeterministic : unknownFunctions).push(name);
  }
  return { nonDeterministic, unknownFunctions };
}

/** What is known of a function by its name, in lower case. */
export function natureOf(name: string): 'generator' | 'deterministic' | 'unknown' {
  if (GENERATORS.has(name)) return 'generator';
  return CONVERSIONS.has(name) || DETERMINISTIC.test(name) ? 'deterministic' : 'unknown';
}

function functionNameAt(cursor: TokenCursor): string | undefined {
  if (!cursor.isSymbol('(', 1)) return undefined;
  if (cursor.kind === TokenKind.Word) return cursor.textAt(cursor.at).toLowerCase();
  return cursor.kind === TokenKind.QuotedName ? cursor.textAt(cursor.at).slice(1, -1) : undefined;
}

/** Whether the name at `index` is qualified with a keyspace other than `system`. */
function isForeign(tokens: Tokens, index: number): boolean {
  if (tokens.text.charCodeAt(tokens.starts[index - 1] ?? -1) !== 46) return false;
  return tokens.text.slice(tokens.starts[index - 2], tokens.ends[index - 2]).toLowerCase() !== 'system';
}

/**
 * Puts a literal in the place of every non-deterministic function of a mutation, so that both clusters store the same.
 * Each literal carries its type, so that what the server would have refused it still refuses.
 * @param evaluate the literal of one call; called once for each, in the order of the text
 */
export function replaceFunctions(
  text: string,
  evaluate: (call: GeneratedCall) => string,
): { readonly text: string; readonly replaced: readonly GeneratedCall[] } {
  const tokens = tokenize(text);
  const found = findGenerated(tokens);
  const replacement = found.map(({ call }) => typed(call.type, evaluate(call)));
  return { text: splice(tokens, found, replacement), replaced: found.map(({ call }) => call) };
}

/** UUID literals say themselves what they are. */
function typed(type: GeneratedType, literal: string): string {
  return type === 'timeuuid' || type === 'uuid' ? literal : `(${type})${literal}`;
}

/**
 * Puts a bind marker in the place of the non-deterministic functions, for a statement that is prepared once and then
 * executed with a new value each time. The markers carry their type; they are named when the text's own are. Inside the
 * literal of a list, set or map servers take no marker: functions there stay, and there are fewer markers than functions.
 */
export function insertMarkers(text: string): { readonly text: string; readonly inserted: readonly InsertedMarker[] } {
  const tokens = tokenize(text);
  const inCollections = tokensInCollections(tokens);
  const found = findGenerated(tokens).filter(({ start }) => !inCollections.has(start));
  const taken = markerNames(tokens);
  const isNamed = taken.size > 0;
  const inserted: InsertedMarker[] = [];
  const replacement: string[] = [];
  let position = 0;
  let token = 0;
  for (const { call, start } of found) {
    for (; token < start; token++) {
      const kind = tokens.kinds[token];
      if (kind === TokenKind.Marker || kind === TokenKind.NamedMarker) position++;
    }
    const name = isNamed ? unusedName(taken, inserted.length) : undefined;
    inserted.push({ position: position++, ...(name === undefined ? {} : { name }), call });
    replacement.push(`(${call.type})${name === undefined ? '?' : `:${name}`}`);
  }
  return { text: splice(tokens, found, replacement), inserted };
}

/** Indexes of the tokens inside the literal of a list, set or map; `[…]` behind a name is an index, `{a: …}` a UDT. */
function tokensInCollections(tokens: Tokens): Set<number> {
  const inside = new Set<number>();
  const open: boolean[] = [];
  const isName = (index: number): boolean =>
    tokens.kinds[index] === TokenKind.Word || tokens.kinds[index] === TokenKind.QuotedName;
  for (let index = 0; index < tokens.count; index++) {
    const symbol = symbolAt(tokens, index);
    if (symbol === '}' || symbol === ']' || symbol === ')') open.pop();
    if (open.includes(true)) inside.add(index);
    if (symbol === '(') open.push(false);
    else if (symbol === '[') open.push(!isName(index - 1));
    else if (symbol === '{') open.push(!(isName(index + 1) && symbolAt(tokens, index + 2) === ':'));
  }
  return inside;
}

function markerNames(tokens: Tokens): Set<string> {
  const names = new Set<string>();
  for (let index = 0; index < tokens.count; index++) {
    if (tokens.kinds[index] !== TokenKind.NamedMarker) continue;
    const name = tokens.text.slice(tokens.starts[index]! + 1, tokens.ends[index]).toLowerCase();
    names.add(name.startsWith('"') ? name.slice(1, -1) : name);
  }
  return names;
}

function unusedName(taken: ReadonlySet<string>, index: number): string {
  let name = `ringshift_generated_${index}`;
  while (taken.has(name)) name += '_';
  return name;
}

function splice(tokens: Tokens, found: readonly FoundCall[], replacement: readonly string[]): string {
  let result = '';
  let from = 0;
  for (const [index, { start, end }] of found.entries()) {
    result += tokens.text.slice(from, tokens.starts[start]) + replacement[index];
    from = tokens.ends[end - 1]!;
  }
  return result + tokens.text.slice(from);
}

function findGenerated(tokens: Tokens): FoundCall[] {
  const found: FoundCall[] = [];
  const cursor = new TokenCursor(tokens);
  for (; cursor.at < tokens.count; cursor.at++) {
    const name = functionNameAt(cursor);
    const source = name === undefined ? undefined : GENERATORS.get(name);
    if (source === undefined || !cursor.isSymbol(')', 2) || isForeign(tokens, cursor.at)) continue;
    found.push(widen(tokens, source, cursor.at));
    cursor.at = Math.max(cursor.at, found[found.length - 1]!.end - 1);
  }
  return found;
}

/** Takes in the conversions around a call, as long as the call is their only argument. */
function widen(tokens: Tokens, source: GeneratedCall['source'], name: number): FoundCall {
  const conversions: ('timestamp' | 'date' | 'bigint')[] = [];
  let type: GeneratedType = source;
  let start = qualifiedStart(tokens, name);
  let end = name + 3;
  for (;;) {
    const isWrapped = symbolAt(tokens, start - 1) === '(' && symbolAt(tokens, end) === ')';
    const outer = isWrapped && tokens.kinds[start - 2] === TokenKind.Word ? wordAt(tokens, start - 2) : '';
    const conversion = CONVERSIONS.get(outer);
    if (conversion === undefined || isForeign(tokens, start - 2) || !isConvertible(type, conversion)) break;
    conversions.push(conversion);
    type = conversion;
    start = qualifiedStart(tokens, start - 2);
    end++;
  }
  return { call: { source, conversions, type }, start, end };
}

/** What the server has a function for; the rest is left for it to refuse. */
function isConvertible(from: GeneratedType, to: 'timestamp' | 'date' | 'bigint'): boolean {
  if (from === 'timeuuid') return true;
  if (from === 'timestamp') return to !== 'timestamp';
  return from === 'date' && to !== 'date';
}

function qualifiedStart(tokens: Tokens, name: number): number {
  return symbolAt(tokens, name - 1) === '.' ? name - 2 : name;
}

function symbolAt(tokens: Tokens, index: number): string {
  if (tokens.kinds[index] !== TokenKind.Symbol) return '';
  return tokens.text.slice(tokens.starts[index], tokens.ends[index]);
}

function wordAt(tokens: Tokens, index: number): string {
  return tokens.text.slice(tokens.starts[index], tokens.ends[index]).toLowerCase();
}
