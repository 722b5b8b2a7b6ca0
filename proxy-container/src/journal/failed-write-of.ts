import { BatchKind, Opcode } from '#core/cql/protocol.ts';
import { readRequestLayout, readValues } from '#core/cql/request-layout.ts';
import { decodeInt } from '#core/cql/value-codec.ts';
import { ProtocolError } from '#core/errors.ts';
import { valueLookup } from '#core/model/bound-values.ts';
import type { BoundValue } from '#core/model/cql-request.ts';
import type { FailedStatement, FailedWrite } from '#core/model/failed-write.ts';
import { classify } from '#core/statement/classify.ts';
import type { BoundTerm, Statement } from '#core/statement/statement.ts';
import type { ChunkWrite } from './chunk.ts';

const BATCH_KINDS = {
  [BatchKind.LOGGED]: 'logged',
  [BatchKind.UNLOGGED]: 'unlogged',
  [BatchKind.COUNTER]: 'counter',
} as const;
const MAX_REASON = 500;
const MAX_KNOWN = 1000;

/** Makes of a write, as it was handed over, the one that travels; what it learns of texts serves the next ones. */
export class FailedWriteReader {
  readonly #statements = new Map<string, Statement>();
  readonly #types = new Map<string, readonly string[]>();

  /** @throws ProtocolError, RangeError when its frame can not be read, or says no write time */
  read(write: ChunkWrite, id: string): FailedWrite {
    // A view would keep the memory that both threads see.
    const frame = Buffer.from(write.frame);
    const layout = readRequestLayout(write.opcode, frame, write.version, write.offset);
    const statements = layout.statements.map((one, index): FailedStatement => {
      const { text, types } = write.statements[index] ?? {};
      const values = readValues(frame, one);
      const isNamed = values[0]?.name !== undefined;
      return {
        text: text ?? one.text ?? '',
        ...(types === undefined ? {} : { types: this.#typesOf(types) }),
        values: isNamed
          ? new Map<string, BoundValue>(values.map(({ name, value }) => [name!, value]))
          : values.map(({ value }) => value),
      };
    });
    const timestampMicros = write.timestampMicros ?? layout.timestampMicros;
    if (timestampMicros === undefined) throw new ProtocolError('it has no write time');
    const writtenAtSeconds = layout.nowInSeconds ?? write.takenAtSeconds;
    const batchKind = BATCH_KINDS[frame[write.offset] as keyof typeof BATCH_KINDS] ?? 'logged';
    return {
      id,
      keyspace: write.keyspace ?? null,
      tables: write.tables,
      consistency: layout.consistency,
      timestampMicros,
      writtenAtSeconds,
      expiresAtSeconds: this.#expiryOf(statements, writtenAtSeconds),
      epoch: write.epoch,
      destination: write.destination,
      ...(write.opcode === Opcode.BATCH ? { kind: 'batch', batchKind } : { kind: 'query' }),
      statements,
      ...(write.isReadBack ? { idempotent: false, readBack: true } : { idempotent: true }),
      reason: write.reason.slice(0, MAX_REASON),
      attempts: 1,
    };
  }

  #typesOf(json: string): readonly string[] {
    let types = this.#types.get(json);
    if (types === undefined) {
      types = JSON.parse(json) as string[];
      if (this.#types.size >= MAX_KNOWN) this.#types.clear();
      this.#types.set(json, types);
    }
    return types;
  }

  #statementOf(text: string): Statement {
    let statement = this.#statements.get(text);
    if (statement === undefined) {
      statement = classify(text);
      if (this.#statements.size >= MAX_KNOWN) this.#statements.clear();
      this.#statements.set(text, statement);
    }
    return statement;
  }

  /** null: some of it does not end, or not with the rest. */
  #expiryOf(statements: readonly FailedStatement[], writtenAtSeconds: number): number | null {
    const ttls = new Set<number>();
    for (const one of statements) {
      const statement = this.#statementOf(one.text);
      for (const child of statement.kind === 'batch' ? statement.children : [statement]) {
        // What it leaves is a tombstone.
        if (child.kind === 'delete') continue;
        ttls.add(ttlOf(child.usingTtl, one));
      }
    }
    const [ttl] = ttls;
    return ttls.size === 1 && ttl! > 0 ? writtenAtSeconds + ttl! : null;
  }
}

/** 0: it lives for ever. Seconds. */
function ttlOf(term: BoundTerm | undefined, statement: FailedStatement): number {
  // The default of its table is the replay's to know.
  if (term === undefined) return 0;
  if (term.kind === 'literal') return Number(term.text) || 0;
  if (term.kind !== 'marker') return 0;
  const value = valueLookup(statement)(term.index, term.name);
  return value?.length === 4 ? decodeInt(value) : 0;
}
