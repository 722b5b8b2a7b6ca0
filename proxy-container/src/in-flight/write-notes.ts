import type { ClusterName } from '#core/model/cluster-name.ts';
import { isCounterSuspect } from '#core/statement/statement.ts';
import type { ClientRequest } from '../requests/client-request.ts';
import type { PreparedEntry } from '../requests/prepared-statements.ts';
import type { Route } from '../requests/route.ts';
import { writtenPlaces } from '../requests/routing-token.ts';
import type { SchemaFacts } from '../schema/schema-facts.ts';
import { type InFlight, NOT_NOTED, type NotedTable, PlaceFlag, type UsualPlace } from './in-flight-port.ts';
import { keyOf, UsualTokens } from './usual-place.ts';

/** Longer names are no table's: the server refuses them. */
const MAX_NAME_LENGTH = 222;
/** Names come from clients. */
const MAX_TABLES = 4096;

/** Says to the log of writes under way where a write goes, before it leaves, and when it is settled. */
export class WriteNotes {
  readonly #log: InFlight;
  readonly #schema: SchemaFacts;
  readonly #tokens = new UsualTokens();
  #tables = new Map<string, NotedTable>();

  constructor(log: InFlight, schema: SchemaFacts) {
    this.#log = log;
    this.#schema = schema;
  }

  /**
   * Notes a usual write; returns its number.
   * @param keyspace in force
   * @param flagsOffset of the parameters of its EXECUTE, which is known to be whole
   */
  usual(
    entry: PreparedEntry,
    shadow: ClusterName,
    keyspace: string | undefined,
    bytes: Buffer,
    flagsOffset: number,
    version: number,
  ): number {
    const place = entry.place ?? this.#placeOf(entry, keyspace);
    if (place === undefined) return NOT_NOTED;
    const tokens = this.#tokens;
    let flags = shadow === 'origin' ? PlaceFlag.ORIGIN_IS_SHADOW : 0;
    if (!tokens.find(place.key, bytes, flagsOffset, version)) flags |= PlaceFlag.NO_TOKEN;
    return this.#log.begin(place.table, tokens.halves[1]!, tokens.halves[0]!, flags);
  }

  /** Notes any other write that two clusters are to have, once: what has been noted keeps its number. */
  note(request: ClientRequest, { shadow, isSync }: Route): void {
    if (request.sequence !== NOT_NOTED || shadow === undefined) return;
    let flags = shadow === 'origin' ? PlaceFlag.ORIGIN_IS_SHADOW : 0;
    if (request.requestClass === 'lwt') flags |= PlaceFlag.CONDITIONAL;
    else if (isSync) flags |= PlaceFlag.BOTH_AT_ONCE;
    for (const { keyspace, table, token, statement } of writtenPlaces(request, this.#schema)) {
      const noted = this.#table(keyspace, table);
      if (noted === undefined) continue;
      let own = token === null ? flags | PlaceFlag.NO_TOKEN : flags;
      if (request.isCounterBatch || isCounterSuspect(statement)) own |= PlaceFlag.COUNTER;
      const hi = token === null ? 0 : Number(token >> 32n);
      const lo = token === null ? 0 : Number(BigInt.asIntN(32, token));
      if (request.sequence === NOT_NOTED) request.sequence = this.#log.begin(noted, hi, lo, own);
      else this.#log.also(request.sequence, noted, hi, lo, own);
    }
  }

  /** Both clusters have it, or neither, or it is kept. Any number of times. */
  done(sequence: number): void {
    if (sequence !== NOT_NOTED) this.#log.done(sequence);
  }

  /** undefined: its table is nowhere. */
  #placeOf(entry: PreparedEntry, keyspaceInForce: string | undefined): UsualPlace | undefined {
    const { statement } = entry;
    const keyspace = statement.keyspace ?? entry.keyspace ?? keyspaceInForce;
    const table = keyspace === undefined ? undefined : this.#table(keyspace, statement.table);
    if (table === undefined) return undefined;
    const key = keyOf(entry, keyspace!, this.#schema);
    if (key === undefined) return { table, key: [] };
    entry.place = { table, key };
    return entry.place;
  }

  #table(keyspace: string, table: string | undefined): NotedTable | undefined {
    if (table === undefined || keyspace.length > MAX_NAME_LENGTH || table.length > MAX_NAME_LENGTH) return undefined;
    const name = `${keyspace}.${table}`;
    let noted = this.#tables.get(name);
    if (noted === undefined) {
      if (this.#tables.size >= MAX_TABLES) this.#tables = new Map();
      noted = { keyspace, table, index: -1 };
      this.#tables.set(name, noted);
    }
    return noted;
  }
}
