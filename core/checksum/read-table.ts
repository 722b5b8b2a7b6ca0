import { encodeBigint } from '../cql/value-codec.ts';
import type { BoundValue, Consistency, ResultPage } from '../model/cql-request.ts';
import type { Clock, CqlSession } from '../ports.ts';
import type { TokenRange } from '../token/token-range.ts';
import type { SelectedPage } from './compare-partition.ts';
import type { ComparedTable } from './compared-table.ts';
import { type RawRow, serializeKey } from './selected-row.ts';

/** One cluster as validation reads it. */
export interface TableReader {
  readonly session: CqlSession;
  readonly consistency: Consistency;
  readonly pageSize: number;
  readonly clock: Clock;
  /** Rows that the filter keeps on the origin; they are passed over on both clusters. */
  readonly isExcluded?: (row: RawRow) => boolean;
}

/** The rows of a range (start < end), ascending by token. */
export function readRange(
  reader: TableReader,
  table: ComparedTable,
  range: TokenRange,
  signal?: AbortSignal,
): AsyncIterable<SelectedPage> {
  return readPages(reader, table.scanText, [encodeBigint(range.start), encodeBigint(range.end)], signal);
}

/** The rows of one partition, in clustering order. */
export function readPartition(
  reader: TableReader,
  table: ComparedTable,
  keyValues: readonly Uint8Array[],
  signal?: AbortSignal,
): AsyncIterable<SelectedPage> {
  return readPages(reader, table.partitionText, keyValues, signal, serializeKey(keyValues));
}

interface PageRead {
  readonly page: ResultPage;
  readonly readAtSeconds: number;
}

/** Pages in order, the next one under way while one is being looked at. */
async function* readPages(
  reader: TableReader,
  text: string,
  values: readonly BoundValue[],
  signal: AbortSignal | undefined,
  routingKey?: Uint8Array,
): AsyncGenerator<SelectedPage> {
  const { session, consistency, pageSize, clock, isExcluded } = reader;
  const statement = await session.prepare(text);
  const request = async (pagingState?: Uint8Array): Promise<PageRead> => {
    const readAtSeconds = Math.floor(clock.nowMillis() / 1000);
    // From v5 on both clusters count TTLs from the instant that is sent; before, each from its own clock.
    const nowInSeconds = session.protocolVersion >= 5 ? readAtSeconds : undefined;
    const page = await session.execute(statement, values, {
      consistency,
      pageSize,
      ...(pagingState ? { pagingState } : {}),
      ...(routingKey ? { routingKey } : {}),
      ...(nowInSeconds === undefined ? {} : { nowInSeconds }),
      ...(signal ? { signal } : {}),
    });
    return { page, readAtSeconds };
  };
  let next: Promise<PageRead> | undefined = request();
  while (next) {
    const { page, readAtSeconds }: PageRead = await next;
    next = page.pagingState && page.pagingState.length > 0 ? request(page.pagingState) : undefined;
    // A page that nobody waits for any more (the reader stopped early) may fail unheard.
    next?.catch(() => undefined);
    yield { rows: isExcluded ? page.rows.filter((row) => !isExcluded(row)) : page.rows, readAtSeconds };
  }
}
