import type { CqlSession, PreparedStatement } from '../ports.ts';

/** The statements of a load: each text is prepared once, and is there without waiting afterwards. */
export class PreparedTexts {
  readonly #session: Pick<CqlSession, 'prepare'>;
  readonly #known = new Map<string, PreparedStatement>();

  constructor(session: Pick<CqlSession, 'prepare'>) {
    this.#session = session;
  }

  known(text: string): PreparedStatement | undefined {
    return this.#known.get(text);
  }

  /** Prepares it unless that has been done. */
  async learn(text: string): Promise<PreparedStatement> {
    const statement = this.#known.get(text) ?? (await this.#session.prepare(text));
    this.#known.set(text, statement);
    return statement;
  }
}
