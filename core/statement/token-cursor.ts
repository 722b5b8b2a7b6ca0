import { TokenKind, type Tokens } from './tokenizer.ts';

/** A place in a token list, with an end that may lie before the list's own (a statement inside a batch). */
export class TokenCursor {
  readonly tokens: Tokens;
  at: number;
  /** Exclusive. */
  readonly end: number;

  constructor(tokens: Tokens, at = 0, end: number = tokens.count) {
    this.tokens = tokens;
    this.at = at;
    this.end = end;
  }

  get isAtEnd(): boolean {
    return this.at >= this.end;
  }

  /** Whether the token here, or `ahead` of here, is this keyword (given in lower case). */
  isWord(word: string, ahead = 0): boolean {
    const index = this.at + ahead;
    if (index >= this.end || this.tokens.kinds[index] !== TokenKind.Word) return false;
    const start = this.tokens.starts[index]!;
    if (this.tokens.ends[index]! - start !== word.length) return false;
    for (let position = 0; position < word.length; position++) {
      if ((this.tokens.text.charCodeAt(start + position) | 32) !== (word.charCodeAt(position) | 32)) return false;
    }
    return true;
  }

  isSymbol(symbol: string, ahead = 0): boolean {
    const index = this.at + ahead;
    return (
      index < this.end &&
      this.tokens.kinds[index] === TokenKind.Symbol &&
      this.tokens.ends[index]! - this.tokens.starts[index]! === symbol.length &&
      this.tokens.text.startsWith(symbol, this.tokens.starts[index])
    );
  }

  /** Moves over this keyword if it is here. */
  takeWord(word: string): boolean {
    if (!this.isWord(word)) return false;
    this.at++;
    return true;
  }

  takeSymbol(symbol: string): boolean {
    if (!this.isSymbol(symbol)) return false;
    this.at++;
    return true;
  }

  /** The kind of the token here; 0 at the end. */
  get kind(): number {
    return this.at < this.end ? this.tokens.kinds[this.at]! : 0;
  }

  textAt(index: number): string {
    return this.tokens.text.slice(this.tokens.starts[index], this.tokens.ends[index]);
  }

  /** Reads a name as the server has it (bare ones in lower case), or undefined when none is here. */
  takeName(): string | undefined {
    if (this.at >= this.end) return undefined;
    const kind = this.tokens.kinds[this.at];
    if (kind !== TokenKind.Word && kind !== TokenKind.QuotedName) return undefined;
    return nameOf(kind, this.textAt(this.at++));
  }

  /** Reads `[keyspace.]table`. */
  takeTable(): { keyspace?: string; table: string } | undefined {
    const first = this.takeName();
    if (first === undefined) return undefined;
    if (!this.takeSymbol('.')) return { table: first };
    const second = this.takeName();
    return second === undefined ? undefined : { keyspace: first, table: second };
  }

  /** How the token here changes the depth of brackets. */
  depthChange(): number {
    if (this.kind !== TokenKind.Symbol) return 0;
    const code = this.tokens.text.charCodeAt(this.tokens.starts[this.at]!);
    if (code === 40 || code === 91 || code === 123) return 1;
    return code === 41 || code === 93 || code === 125 ? -1 : 0;
  }

  /**
   * Moves on to the first token outside brackets for which `isStop` holds, or to a bracket that closes what was open
   * before, or to the end.
   */
  skipTo(isStop: () => boolean): void {
    for (let depth = 0; this.at < this.end; this.at++) {
      const change = this.depthChange();
      if (depth === 0 && (change < 0 || isStop())) return;
      depth += change;
    }
  }
}

/** A name without its quotes; bare names in lower case, as the server keeps them. */
export function nameOf(kind: number, text: string): string {
  return kind === TokenKind.QuotedName ? text.slice(1, -1).replaceAll('""', '"') : text.toLowerCase();
}
