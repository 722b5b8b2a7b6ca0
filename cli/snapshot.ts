import type { Command } from 'commander';
import pLimit from 'p-limit';
import { createS3Client } from '#adapters/aws-clients.ts';
import { readMigrationConfig } from '#adapters/config-file.ts';
import { createS3ObjectStore, parseS3Uri } from '#adapters/s3.ts';
import { createPlainUpload, createS3Upload, type UploadFile } from '#adapters/s3-upload.ts';
import { openSnapshotPlace } from '#adapters/snapshot-place.ts';
import { UsageError } from '#core/errors.ts';
import { MANIFEST_NAME, parseManifest, type SnapshotManifest } from '#core/jobs/snapshot-manifest.ts';
import type { ObjectStore } from '#core/ports.ts';
import { withCommonOptions } from './clusters.ts';
import { askNode, type NodeIdentity, readNodetoolFiles } from './node-identity.ts';
import { type CommonOptions, createProgress, printResult } from './output.ts';
import {
  checksumOfFile,
  findSnapshot,
  type SnapshotFile,
  type SnapshotFolder,
  withoutDroppedTables,
} from './snapshot-files.ts';
import { registerSnapshotVerify } from './sstable-verify.ts';

interface UploadOptions extends CommonOptions {
  readonly nodeDir?: string;
  readonly tag: string;
  readonly keyspace: readonly string[];
  readonly to: string;
  readonly node?: string;
  readonly contactPoint?: string;
  readonly nodetoolInfo?: string;
  readonly nodetoolStatus?: string;
  readonly takenAt?: string;
  readonly parallel: string;
}

export function register(program: Command): void {
  const snapshot = program.command('snapshot').description('ship snapshots to the object store, or check them');
  const collect = (value: string, known: readonly string[]) => [...known, value];
  withCommonOptions(
    snapshot
      .command('upload')
      .description("ship one node's snapshot with a manifest; safe to run again, it goes on where it stopped")
      .argument('[directory]', "the node's data directory")
      .option('--node-dir <directory>', 'the same, as an option')
      .requiredOption('--tag <tag>', 'the snapshot: nodetool flush, then nodetool snapshot -t TAG')
      .requiredOption('--to <place>', 's3://bucket/prefix (or a directory)')
      .option('--keyspace <name>', 'only this one (repeatable); default: all but the system keyspaces', collect, [])
      .option('--node <name>', "the node's folder below the prefix; default: its address")
      .option('--contact-point <address>', "this node, asked over CQL with the origin's credentials")
      .option('--nodetool-info <file>', 'instead of CQL: what nodetool info -T printed')
      .option('--nodetool-status <file>', 'with it: what nodetool status printed, so that the ring is known')
      .option('--taken-at <time>', 'when the snapshot was taken, for Cassandra before 4.1 (ISO 8601)')
      .option('--parallel <n>', 'files at a time', '4'),
  ).action(upload);
  registerSnapshotVerify(snapshot);
}

async function upload(directory: string | undefined, options: UploadOptions): Promise<void> {
  const from = directory ?? options.nodeDir;
  if (from === undefined) throw new UsageError('which directory? ringshift snapshot upload DIRECTORY --tag … --to …');
  const parallel = Number(options.parallel);
  if (!Number.isInteger(parallel) || parallel < 1 || parallel > 64) throw new UsageError('--parallel takes 1 to 64');
  const givenTime = options.takenAt === undefined ? null : parseTime(options.takenAt);
  const found = await findSnapshot(from, options.tag, options.keyspace);
  const identity = await identify(options);
  const folders = withoutDroppedTables(found, identity.tableIds);
  if (folders.length < found.length) {
    process.stderr.write(`${found.length - folders.length} folders of dropped tables are left out\n`);
  }
  if (folders.length === 0) {
    throw new UsageError(
      `snapshot ${options.tag} in ${from} holds only tables that this node does not have (any more)`,
    );
  }
  const node = options.node ?? identity.address;
  if (!/^[\w.:-]{1,200}$/.test(node)) throw new UsageError('--node takes letters, digits and . : _ -');
  const s3 = createS3Client();
  const { objects, prefix } = openSnapshotPlace(options.to, (bucket) => createS3ObjectStore(s3, bucket));
  const bucket = parseS3Uri(options.to)?.bucket;
  const send = bucket === undefined ? createPlainUpload(objects) : createS3Upload(s3, bucket, objects);
  const folder = `${prefix === '' ? '' : `${prefix}/`}${node}`;
  const journal = await openJournal(objects, folder);
  const shipped = await ship(folders, { objects, folder, send, parallel, journal });
  const manifest: SnapshotManifest = {
    version: 1,
    node,
    hostId: identity.hostId,
    datacenter: identity.datacenter,
    rack: identity.rack,
    tokens: [...identity.tokens],
    ring: [...identity.ring],
    tag: options.tag,
    takenAt: earliest(folders) ?? givenTime,
    tables: folders.map(({ keyspace, table, droppedColumns }) => ({
      keyspace,
      table,
      droppedColumns: [...droppedColumns],
    })),
    components: shipped.components,
  };
  // Last: a node with a manifest is complete.
  await objects.put(`${folder}/${MANIFEST_NAME}`, JSON.stringify(manifest));
  await journal.remove();
  const { bytes, skipped } = shipped;
  const result = {
    prefix: options.to,
    node,
    takenAt: manifest.takenAt,
    files: manifest.components.length,
    bytes,
    skipped,
  };
  printResult(options, result, [
    `${result.files} files (${(bytes / 1e6).toFixed(1)} MB, ${skipped} were there already) of ${node} are in ${options.to}`,
    manifest.takenAt === null
      ? 'the snapshot does not say when it was taken: a load will refuse it; ship it again with --taken-at'
      : `taken at ${manifest.takenAt}`,
  ]);
}

async function identify(options: UploadOptions): Promise<NodeIdentity> {
  if (options.nodetoolInfo !== undefined) return readNodetoolFiles(options.nodetoolInfo, options.nodetoolStatus);
  return askNode(await readMigrationConfig(options.config), options.contactPoint);
}

function parseTime(text: string): string {
  const at = Date.parse(text);
  if (Number.isNaN(at)) throw new UsageError(`--taken-at ${text} is no time; write 2026-01-31T12:00:00Z`);
  return new Date(at).toISOString();
}

/** A table's snapshot that is older makes the whole as old; one without a time makes the age unknown. */
function earliest(folders: readonly SnapshotFolder[]): string | null {
  const times = folders.map((folder) => folder.createdAt);
  return times.includes(null) ? null : ([...times].sort()[0] ?? null);
}

interface Shipping {
  readonly objects: ObjectStore;
  readonly folder: string;
  readonly send: UploadFile;
  readonly parallel: number;
  readonly journal: Journal;
}

type ShippedFile = SnapshotManifest['components'][number];

async function ship(
  folders: readonly SnapshotFolder[],
  shipping: Shipping,
): Promise<{ components: ShippedFile[]; bytes: number; skipped: number }> {
  const { objects, folder, journal } = shipping;
  const present = new Map<string, number>();
  for await (const { key, byteLength } of objects.list(`${folder}/`)) present.set(key, byteLength);
  const files = folders.flatMap((each) => each.files);
  const total = files.reduce((sum, file) => sum + file.byteLength, 0);
  const progress = createProgress('upload');
  const components: ShippedFile[] = [];
  let bytes = 0;
  let skipped = 0;
  const limit = pLimit(shipping.parallel);
  const shipOne = async (file: SnapshotFile): Promise<void> => {
    const key = `${folder}/${file.key}`;
    const entry = { key: file.key, byteLength: file.byteLength, crc32: await checksumOfFile(file) };
    const known = journal.entries.get(file.key);
    if (known?.crc32 === entry.crc32 && present.get(key) === file.byteLength) skipped++;
    else await shipping.send(file.path, file.byteLength, key);
    components.push(entry);
    await journal.add(entry);
    bytes += file.byteLength;
    progress.update(bytes, total, `${components.length}/${files.length} files, ${(bytes / 1e6).toFixed(0)} MB`);
  };
  try {
    await Promise.all(files.map((file) => limit(() => shipOne(file))));
  } finally {
    limit.clearQueue();
    await journal.save();
    progress.end();
  }
  return { components: components.sort((a, b) => (a.key < b.key ? -1 : 1)), bytes, skipped };
}

/** What an upload has shipped so far, kept beside it until the manifest stands. */
interface Journal {
  readonly entries: ReadonlyMap<string, ShippedFile>;
  add(entry: ShippedFile): Promise<void>;
  save(): Promise<void>;
  remove(): Promise<void>;
}

const JOURNAL_NAME = 'ringshift-upload.json';
const JOURNAL_INTERVAL_MS = 5000;

async function openJournal(objects: ObjectStore, folder: string): Promise<Journal> {
  const entries = new Map<string, ShippedFile>();
  const manifest = await objects.get(`${folder}/${MANIFEST_NAME}`);
  if (manifest !== undefined) {
    const { components } = parseManifest(manifest, `${objects.name}/${folder}/${MANIFEST_NAME}`);
    for (const entry of components) entries.set(entry.key, entry);
  }
  const journal = await objects.get(`${folder}/${JOURNAL_NAME}`);
  if (journal !== undefined) {
    const known = JSON.parse(new TextDecoder().decode(journal)) as ShippedFile[];
    for (const entry of known) entries.set(entry.key, entry);
  }
  let savedAt = Date.now();
  const save = () => objects.put(`${folder}/${JOURNAL_NAME}`, JSON.stringify([...entries.values()]));
  return {
    entries,
    async add(entry) {
      entries.set(entry.key, entry);
      if (Date.now() - savedAt < JOURNAL_INTERVAL_MS) return;
      savedAt = Date.now();
      await save();
    },
    save,
    remove: () => objects.remove(`${folder}/${JOURNAL_NAME}`),
  };
}
