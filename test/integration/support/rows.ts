/** What a plain driver reads of a table: an oracle that shares nothing with the product. */
import { type Client, types } from 'cassandra-driver';
import type { RandomTable } from './random-schema.ts';

/** One JSON text for each row in the cluster's order, with the write times; TTLs apart, since they run. */
export interface TableContents {
  readonly rows: readonly string[];
  readonly ttls: readonly number[];
  /** Between the two the server told the TTLs. */
  readonly readFromMillis: number;
  readonly readUntilMillis: number;
}

export interface ReadOptions {
  /** Whether the cluster tells the times of the elements of collections (5.0 and later). */
  readonly elementTimes?: boolean;
  readonly consistency?: types.consistencies;
}

/** Reads all values, and write time and TTL of every column that has one to tell; those of lists are the server's. */
export async function readTable(client: Client, table: RandomTable, options: ReadOptions = {}): Promise<TableContents> {
  const { partitionKey, clustering, statics, regulars } = table;
  const consistency = options.consistency ?? types.consistencies.localOne;
  const select = async (what: readonly string[]) => {
    const query = `SELECT ${what.join(', ')} FROM ${table.name}`;
    return (await client.execute(query, [], { consistency, fetchSize: 5000 })).rows;
  };
  const columns = [...statics, ...regulars];
  const timed = columns.filter(({ type }) => type.multiCell === undefined);
  // Of collections no TTLs: those that have none are null in a list, which the driver does not read.
  const elements = columns.filter(({ type: { multiCell } }) => {
    return options.elementTimes && (multiCell?.kind === 'set' || multiCell?.kind === 'map');
  });
  const names = [...partitionKey, ...clustering, ...statics, ...regulars].map(({ name }) => name);
  const values = await select([`JSON ${names.join(', ')}`]);
  const readFromMillis = Date.now();
  const times = await select([
    ...names.slice(0, 1),
    ...timed.flatMap(({ name }, at) => [`WRITETIME(${name}) AS w${at}`, `TTL(${name}) AS t${at}`]),
    ...elements.map(({ name }, at) => `WRITETIME(${name}) AS e${at}`),
  ]);
  const readUntilMillis = Date.now();
  const ttls: number[] = [];
  const rows = values.map((row, index) => {
    const found = times[index]!;
    const texts = timed.map(({ name }, at) => {
      const ttl = found[`t${at}`] as number | null;
      if (ttl !== null) ttls.push(ttl);
      return `${name} at ${found[`w${at}`]}${ttl === null ? '' : ', expires'}`;
    });
    const elementTexts = elements.map(({ name }, at) => `${name} at ${found[`e${at}`]}`);
    return [String(row['[json]']), ...texts, ...elementTexts].join('; ');
  });
  return { rows, ttls, readFromMillis, readUntilMillis };
}

/** Whether TTLs, in the order of the rows, mean the same instants; whole seconds, read one after the other. */
export function sameExpiries(one: TableContents, other: TableContents, toleranceSeconds = 2): boolean {
  const leastSeconds = (other.readFromMillis - one.readUntilMillis) / 1000;
  const mostSeconds = (other.readUntilMillis - one.readFromMillis) / 1000;
  const isBetween = (seconds: number): boolean =>
    seconds >= leastSeconds - toleranceSeconds && seconds <= mostSeconds + toleranceSeconds;
  return one.ttls.length === other.ttls.length && one.ttls.every((ttl, at) => isBetween(ttl - other.ttls[at]!));
}
