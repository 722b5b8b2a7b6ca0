import type { FilterRules } from './filter-rules.ts';

/** A tenant id as bound to a statement (protocol bytes of any type) or as it stands in a text. */
export type BoundTenant = string | Uint8Array | undefined;

/** `migrate`: belongs to both clusters. `excluded`: stays on the origin, in every phase. */
export type FilterDecision =
  | { readonly kind: 'migrate' }
  | { readonly kind: 'excluded'; readonly by: 'table' | 'tenant' };

const MIGRATE: FilterDecision = { kind: 'migrate' };
const EXCLUDED_TABLE: FilterDecision = { kind: 'excluded', by: 'table' };
const EXCLUDED_TENANT: FilterDecision = { kind: 'excluded', by: 'tenant' };

/** One versioned rule set, evaluated by the same code in the proxy, the load and the validation. */
export interface Filter {
  /** Whether any rule is in force; callers skip the work of finding the tenant otherwise. */
  readonly isEmpty: boolean;
  readonly hasTenantRules: boolean;
  /** Columns that carry the tenant's id, in order of precedence. */
  readonly tenantColumns: readonly string[];
  /** Without a bound tenant only the table rules decide. */
  decide(keyspace: string, table: string, boundTenant?: BoundTenant): FilterDecision;
}

/** Compiles rules; tenant ids are matched in every form that a column type may give them on the wire. */
export function createFilter(rules: FilterRules): Filter {
  const excludedTables = tableMatcher(rules.tables.exclude);
  const includedTables = tableMatcher(rules.tables.include);
  const excludedTenants = tenantMatcher(rules.tenants.exclude);
  const includedTenants = tenantMatcher(rules.tenants.include);
  const hasTenantRules = excludedTenants !== undefined || includedTenants !== undefined;
  return {
    isEmpty: !hasTenantRules && excludedTables === undefined && includedTables === undefined,
    hasTenantRules,
    tenantColumns: rules.tenants.columns,
    decide(keyspace, table, boundTenant) {
      if (excludedTables?.(keyspace, table)) return EXCLUDED_TABLE;
      if (includedTables && !includedTables(keyspace, table)) return EXCLUDED_TABLE;
      if (boundTenant === undefined) return MIGRATE;
      if (excludedTenants?.(boundTenant)) return EXCLUDED_TENANT;
      if (includedTenants && !includedTenants(boundTenant)) return EXCLUDED_TENANT;
      return MIGRATE;
    },
  };
}

function tableMatcher(patterns: readonly string[]): ((keyspace: string, table: string) => boolean) | undefined {
  if (patterns.length === 0) return undefined;
  const known = new Set(
    patterns.map((pattern) => (pattern.includes('.') ? pattern : `*.${pattern}`).replaceAll('"', '')),
  );
  return (keyspace, table) =>
    known.has(`${keyspace}.${table}`) || known.has(`${keyspace}.*`) || known.has(`*.${table}`) || known.has('*.*');
}

function tenantMatcher(ids: readonly string[]): ((tenant: string | Uint8Array) => boolean) | undefined {
  if (ids.length === 0) return undefined;
  const texts = new Set<string>();
  const wire = new Set<string>();
  for (const id of ids) {
    texts.add(canonicalText(id));
    for (const form of wireForms(id)) wire.add(latin1(form));
  }
  return (tenant) =>
    typeof tenant === 'string' ? texts.has(canonicalText(tenant)) : tenant.length <= 4096 && wire.has(latin1(tenant));
}

const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/i;

const BLOB = /^0x([0-9a-f]{2})*$/i;
const BOOLEAN = /^(true|false)$/i;

/** UUIDs, blobs and booleans are equal whatever their case; other texts as they are. */
function canonicalText(id: string): string {
  return UUID.test(id) || BLOB.test(id) || BOOLEAN.test(id) ? id.toLowerCase() : id;
}

/** The bytes that a text, uuid, blob, boolean, tinyint, smallint, int, bigint or varint column would carry for this id. */
function wireForms(id: string): Uint8Array[] {
  const forms: Uint8Array[] = [Buffer.from(id)];
  if (BLOB.test(id)) forms.push(Buffer.from(id.slice(2), 'hex'));
  if (BOOLEAN.test(id)) forms.push(Uint8Array.of(id.toLowerCase() === 'true' ? 1 : 0));
  if (UUID.test(id)) {
    forms.push(Buffer.from(id.toLowerCase()), Buffer.from(id.toUpperCase()), uuidBytes(id));
  }
  if (/^-?\d{1,19}$/.test(id)) forms.push(...integerForms(BigInt(id)));
  return forms;
}

function uuidBytes(id: string): Uint8Array {
  return Buffer.from(id.replaceAll('-', ''), 'hex');
}

function integerForms(value: bigint): Uint8Array[] {
  const forms: Uint8Array[] = [];
  // The shortest form is that of a varint.
  let isShortest = true;
  for (let byteCount = 1; byteCount <= 8; byteCount++) {
    const bits = byteCount * 8;
    if (BigInt.asIntN(bits, value) !== value) continue;
    if (!isShortest && byteCount !== 2 && byteCount !== 4 && byteCount !== 8) continue;
    isShortest = false;
    const unsigned = BigInt.asUintN(bits, value);
    forms.push(
      Uint8Array.from({ length: byteCount }, (_, index) =>
        Number((unsigned >> BigInt((byteCount - 1 - index) * 8)) & 0xffn),
      ),
    );
  }
  return forms;
}

function latin1(bytes: Uint8Array): string {
  let text = '';
  for (const byte of bytes) text += String.fromCharCode(byte);
  return text;
}
