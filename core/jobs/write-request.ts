/** One request to the target, from its first statement to its answer. */

import { BatchBody, requireUnset } from '../cql/batch-body.ts';
import type { Write } from '../merge/writes.ts';
import type { BoundValue } from '../model/cql-request.ts';
import type { PreparedStatement } from '../ports.ts';

/** A write whose statements are made anew for each attempt: a list, or one whose TTL runs while it waits. */
export interface KeptWrite {
  readonly write: Write;
  readonly partitionKey: readonly Uint8Array[];
}

const NO_BYTES = new Uint8Array(0);

/** Statements that share one `now_in_seconds`, of one partition or of neighbours. */
export class WriteRequest<Position> {
  readonly body: BatchBody;
  /** Those of `body`, each once. */
  readonly statements: PreparedStatement[] = [];
  readonly kept: KeptWrite[] = [];
  /** Values of the kept writes, about. */
  keptBytes = 0;
  /** Seconds since the epoch; undefined: any will do. */
  nowInSeconds: number | undefined;
  /** Serialized key of the first partition; not a view of a window, which would live as long as the request. */
  routingKey: Uint8Array = NO_BYTES;
  /** Where the load can go on, once all earlier requests are done and this one is not. */
  readonly position: Position;

  /** @param body an empty one; it may serve another request after this one's answer */
  constructor(position: Position, body = new BatchBody()) {
    this.position = position;
    this.body = body;
  }

  get byteLength(): number {
    return this.body.length + this.keptBytes;
  }

  /** Notes that the body has a statement of this text. */
  uses(statement: PreparedStatement): void {
    if (!this.statements.includes(statement)) this.statements.push(statement);
  }

  /** Adds a statement that was bound apart. @throws ProtocolError when the protocol version has no unset values */
  append(statement: PreparedStatement, values: readonly BoundValue[], version: number): void {
    this.uses(statement);
    this.body.prepared(statement.id, values.length);
    for (const value of values) {
      if (value === undefined) requireUnset(version);
      this.body.value(value);
    }
  }
}
