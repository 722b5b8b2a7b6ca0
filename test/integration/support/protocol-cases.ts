/** What the proxy and a cluster are asked, each on a connection of its own; they must give the same answers. */
import { BodyWriter } from '#core/cql/body-writer.ts';
import { encodeRegister } from '#core/cql/handshake-messages.ts';
import { FrameFlag, Opcode } from '#core/cql/protocol.ts';
import { encodeBigint, encodeInt, encodeText } from '#core/cql/value-codec.ts';
import { Consistency } from '#core/model/cql-request.ts';
import { decodeReply, type RawSide } from './raw-side.ts';

export interface ProtocolCase {
  readonly name: string;
  readonly from?: number;
  readonly run: (side: RawSide) => Promise<unknown>;
}

export const INSERT = 'INSERT INTO KS.items (id, part, v, w) VALUES (?, ?, ?, ?)';
const SELECT = 'SELECT * FROM KS.items WHERE id = ?';
const payload = (body: Buffer): Buffer =>
  Buffer.concat([new BodyWriter().short(1).string('request-id').bytes(Buffer.from('12')).toBuffer(), body]);

async function readPages(side: RawSide, size: number, fetch: (state: Buffer | undefined) => Promise<unknown>) {
  let state: Buffer | undefined;
  for (let page = 0; page < 20; page++) {
    const result = decodeReply((await fetch(state)) as Awaited<ReturnType<RawSide['query']>>);
    state = result.kind === 'rows' ? result.metadata.pagingState : undefined;
    if (state === undefined) return;
  }
  throw new Error(`pages of ${size} have no end (${side.keyspace})`);
}

export const protocolCases: readonly ProtocolCase[] = [
  {
    name: 'QUERY with values by position and by name, and without metadata',
    run: async (side) => {
      await side.query('SELECT * FROM KS.items WHERE id = 1');
      await side.query(SELECT, { values: [encodeInt(1)] });
      await side.query('SELECT v FROM KS.items WHERE id = :id AND part = :part', {
        values: [encodeInt(3), encodeInt(1)],
        names: ['part', 'id'],
      });
      await side.query(SELECT, { values: [encodeInt(1)], skipMetadata: true });
      await side.query(INSERT, { values: [...side.key(20, 1), encodeText('v'), null], timestampMicros: 5n });
      await side.query(SELECT, { values: [side.id(20)] });
    },
  },
  {
    name: 'EXECUTE with and without metadata, null values, and wrong counts of values',
    run: async (side) => {
      const insert = await side.prepare(INSERT);
      const select = await side.prepare('SELECT v, w FROM KS.items WHERE id = ? AND part = ?');
      await side.execute(insert, { values: [...side.key(21, 1), encodeText('v'), null] });
      await side.execute(select, { values: side.key(21, 1) });
      await side.execute(select, { values: side.key(21, 1), skipMetadata: true });
      await side.execute(select, { values: [side.id(21)] });
      await side.execute(select, { values: [...side.key(21, 1), encodeInt(1)] });
      await side.execute(insert, { values: side.key(21, 1) });
      await side.execute(select, { values: [side.id(21), Buffer.from([1])] });
      await side.execute(insert, { values: [side.id(21), null, null, null] });
    },
  },
  {
    name: 'EXECUTE with names',
    run: async (side) => {
      const insert = await side.prepare('INSERT INTO KS.items (id, part, v) VALUES (:id, :part, :v)');
      await side.execute(insert, { values: [...side.key(22, 1), encodeText('v')], names: ['id', 'part', 'v'] });
      await side.execute(insert, { values: [encodeText('w'), ...side.key(22, 2)], names: ['v', 'id', 'part'] });
      await side.query('SELECT part, v FROM KS.items WHERE id = #22');
    },
  },
  {
    name: 'unset values',
    from: 4,
    run: async (side) => {
      const insert = await side.prepare(INSERT);
      await side.execute(insert, { values: [...side.key(23, 1), encodeText('v'), encodeText('w')] });
      await side.execute(insert, { values: [...side.key(23, 1), undefined, null] });
      await side.query('SELECT v, w FROM KS.items WHERE id = #23');
      await side.execute(insert, { values: [side.id(23), undefined, null, null] });
      await side.batch(0, [[insert, [...side.key(23, 2), undefined, encodeText('w')]]]);
      await side.query('SELECT v, w FROM KS.items WHERE id = #23');
    },
  },
  {
    name: 'pages of any size, of texts and of prepared statements',
    run: async (side) => {
      const select = await side.prepare(SELECT);
      for (const pageSize of [1, 3, 7, 100]) {
        await readPages(side, pageSize, (state) =>
          side.query(SELECT, { values: [encodeInt(1)], pageSize, ...(state ? { pagingState: state } : {}) }),
        );
        await readPages(side, pageSize, (state) =>
          side.execute(select, { values: [encodeInt(1)], pageSize, ...(state ? { pagingState: state } : {}) }),
        );
      }
      await side.query(SELECT, { values: [encodeInt(1)], pageSize: 0 });
      await side.query(SELECT, { values: [encodeInt(1)], pageSize: -1 });
    },
  },
  {
    name: 'batches of every kind, of texts and prepared statements',
    run: async (side) => {
      const insert = await side.prepare(INSERT);
      const add = await side.prepare('UPDATE KS.hits SET n = n + ? WHERE id = ?');
      for (const kind of [0, 1]) {
        await side.batch(kind, [
          [insert, [...side.key(24, kind), encodeText('v'), null]],
          ['INSERT INTO KS.items (id, part, v) VALUES (?, 5, ?)', [side.id(24), encodeText('of a text')]],
          ['DELETE FROM KS.items WHERE id = #24 AND part = 9'],
        ]);
      }
      await side.batch(0, [[insert, [...side.key(24, 3), null, null]]], { timestampMicros: 77n });
      await side.query('SELECT part, v, writetime(w) FROM KS.items WHERE id = #24');
      await side.batch(2, [[add, [encodeBigint(0n), encodeInt(1)]], ['UPDATE KS.hits SET n = n + 0 WHERE id = 2']]);
      await side.query('SELECT * FROM KS.hits WHERE id = 3');
      await side.batch(0, []);
      await side.batch(0, [[add, [encodeBigint(0n), encodeInt(1)]]]);
      await side.batch(2, [[insert, [...side.key(24, 4), null, null]]]);
      await side.batch(0, [['SELECT * FROM KS.items']]);
      await side.batch(1, [[insert, [encodeInt(1)]]]);
    },
  },
  {
    name: 'conditional writes, alone and in a batch',
    run: async (side) => {
      const id = side.version * 10 + (side.client.dialect.compression?.length ?? 0);
      const insert = await side.prepare(`INSERT INTO KS.lwt_ (id, v) VALUES (${id}, ?) IF NOT EXISTS`);
      await side.query(`DELETE FROM KS.lwt_ WHERE id = ${id} IF EXISTS`).then(() => side.seen.pop());
      for (const serialConsistency of [Consistency.SERIAL, Consistency.LOCAL_SERIAL]) {
        await side.execute(insert, { values: [encodeText('v')], serialConsistency });
      }
      await side.query(`UPDATE KS.lwt_ SET v = 'w' WHERE id = ${id} IF v = 'other'`);
      await side.query(`SELECT v FROM KS.lwt_ WHERE id = ${id}`, { consistency: Consistency.SERIAL });
      await side.query(`SELECT v FROM KS.lwt_ WHERE id = ${id}`, { consistency: Consistency.LOCAL_SERIAL });
      await side.batch(0, [[`UPDATE KS.lwt_ SET v = 'w' WHERE id = ${id} IF v = 'v'`]]);
      await side.query(`UPDATE KS.lwt_ SET v = 'x' WHERE id = ${id} IF v = 'w'`, {
        serialConsistency: Consistency.ONE,
      });
    },
  },
  {
    name: 'every consistency level, for reads and for writes',
    run: async (side) => {
      for (const consistency of Object.values(Consistency)) {
        await side.query(SELECT, { values: [encodeInt(1)], consistency });
        await side.query('INSERT INTO KS.items (id, part) VALUES (#25, 1)', { consistency });
        await side.batch(1, [['INSERT INTO KS.items (id, part) VALUES (#25, 2)']], { consistency });
      }
    },
  },
  {
    name: 'warnings',
    run: async (side) => {
      await side.query('SELECT count(*) FROM KS.hits');
      const many = Array.from({ length: 40 }, (_, part) => `INSERT INTO KS.items (id, part) VALUES (#${30 + part}, 1)`);
      await side.batch(
        1,
        many.map((text) => [text] as const),
      );
      const large = 'x'.repeat(3000);
      const insert = await side.prepare(INSERT);
      const entry = (part: number) => [insert, [...side.key(26, part), encodeText(large), null]] as const;
      await side.batch(0, [entry(1), entry(2), entry(3)]);
    },
  },
  {
    name: 'a custom payload in front of every request',
    from: 4,
    run: async (side) => {
      const flag = FrameFlag.CUSTOM_PAYLOAD;
      const writer = (text: string, tail: number[]) =>
        payload(Buffer.concat([new BodyWriter().longString(side.own(text)).toBuffer(), Buffer.from(tail)]));
      const tail = side.version >= 5 ? [0, 1, 0, 0, 0, 0] : [0, 1, 0];
      await side.send(Opcode.QUERY, writer('SELECT v FROM KS.items WHERE id = 1', tail), flag);
      await side.send(Opcode.QUERY, writer('INSERT INTO KS.items (id, part) VALUES (#27, 1)', tail), flag);
      await side.send(Opcode.PREPARE, writer(INSERT, side.version >= 5 ? [0, 0, 0, 0] : []), flag);
      const batch = side.batchBody(0, [['INSERT INTO KS.items (id, part) VALUES (#27, 2)']]);
      await side.send(Opcode.BATCH, payload(batch), flag);
    },
  },
  {
    name: 'errors of statements',
    run: async (side) => {
      for (const text of [
        '',
        'SELEKT',
        'SELECT * FROM KS.items WHERE',
        'SELECT * FROM KS.nowhere',
        'SELECT * FROM nokeyspace.items',
        'SELECT * FROM items',
        'SELECT nothing FROM KS.items',
        'SELECT * FROM KS.items WHERE v = 1',
        'INSERT INTO KS.items (id) VALUES (1)',
        'INSERT INTO KS.items (id, part) VALUES (1, 1) USING TTL -1',
        'UPDATE KS.hits SET n = 1 WHERE id = 1',
        'INSERT INTO KS.items (id, part) VALUES (nofunction(), 1)',
        'CREATE TABLE KS.items (id int PRIMARY KEY)',
        "CREATE KEYSPACE KS WITH replication = {'class': 'SimpleStrategy', 'replication_factor': 1}",
        "CREATE KEYSPACE other WITH replication = {'class': 'Nothing'}",
        'CREATE TABLE KS.x (id nothing PRIMARY KEY)',
        'DROP TABLE KS.nowhere',
        'TRUNCATE KS.nowhere',
        'DROP ROLE nobody_there',
        'USE no_such_keyspace',
        'SELECT * FROM KS.items; SELECT 1',
      ])
        await side.query(text);
    },
  },
  {
    name: 'ids that nobody has prepared',
    run: async (side) => {
      const strange = { id: Buffer.alloc(16, 9), markers: [], partitionKeyIndexes: [], result: { columnCount: 0 } };
      await side.execute({ ...strange, resultMetadataId: Buffer.alloc(16, 8) });
      await side.batch(0, [[strange]]);
      await side.execute({ ...strange, id: Buffer.alloc(0), resultMetadataId: Buffer.alloc(0) });
    },
  },
  {
    name: 'USE and what follows it',
    run: async (side) => {
      await side.query('SELECT v FROM items WHERE id = 1');
      await side.query('USE KS');
      await side.query('SELECT v FROM items WHERE id = 1');
      await side.query('USE "KS"');
      const select = await side.prepare('SELECT v FROM items WHERE id = ?');
      await side.execute(select, { values: [encodeInt(1)] });
      await side.batch(0, [['INSERT INTO items (id, part) VALUES (#28, 1)']]);
    },
  },
  {
    name: 'OPTIONS and REGISTER',
    run: async (side) => {
      await side.send(Opcode.OPTIONS, Buffer.alloc(0));
      await side.send(Opcode.REGISTER, encodeRegister(['SCHEMA_CHANGE', 'TOPOLOGY_CHANGE', 'STATUS_CHANGE']));
      await side.send(Opcode.REGISTER, encodeRegister([]));
    },
  },
  {
    name: 'a keyspace and a second of their own in QUERY, PREPARE and BATCH',
    from: 5,
    run: async (side) => {
      const { keyspace } = side;
      const nowInSeconds = 1_900_000_000;
      await side.query("INSERT INTO items (id, part, v) VALUES (#29, 1, 'v') USING TTL 1000", {
        keyspace,
        nowInSeconds,
      });
      const select = 'SELECT v, ttl(v) FROM items WHERE id = ?';
      await side.query(select, { keyspace, nowInSeconds: nowInSeconds + 400, values: [side.id(29)] });
      const prepared = await side.prepare(select, keyspace);
      await side.execute(prepared, { nowInSeconds: nowInSeconds + 500, values: [side.id(29)] });
      await side.execute(prepared, { nowInSeconds: nowInSeconds + 1000, values: [side.id(29)] });
      const insert = await side.prepare('INSERT INTO items (id, part, v) VALUES (?, ?, ?) USING TTL 1000', keyspace);
      await side.batch(1, [[insert, [...side.key(29, 2), encodeText('v')]]], { nowInSeconds: nowInSeconds + 10 });
      await side.batch(1, [["INSERT INTO items (id, part, v) VALUES (#29, 3, 'v')"]], { keyspace });
      await side.query('SELECT part, ttl(v) FROM items WHERE id = #29', { keyspace, nowInSeconds });
      await side.query('SELECT v FROM items WHERE id = 1', { keyspace: 'no_such_keyspace' });
    },
  },
];
