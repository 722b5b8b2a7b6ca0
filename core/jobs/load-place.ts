/** How far a load has come in its range, as a small text for plans, ledger records and state machines. */

import type { ClusteringBound } from '../model/clustering-bound.ts';
import { Clustering, clusteringOf, type Row } from '../model/row.ts';

export interface LoadPlace {
  /** Everything up to and including this token is finished. */
  readonly token: bigint;
  /** Partitions behind it and before this one are finished too, and of this one what stands before the bound. */
  readonly inside?: { readonly key: Uint8Array; readonly bound: ClusteringBound };
}

/** A key and a clustering may have 64 KiB a value; a place of more than this is not worth its room. */
const MAX_INSIDE_BYTES = 8 * 1024;

/** `token`, or `token:key:side` with the clustering values, in base64url; of 12 KiB at most. */
export const LOAD_PLACE_PATTERN = /^-?\d{1,19}(:[\w-]{0,11000}:[ab][\w-]{0,11000})?$/;

/** Just behind a row; undefined when that takes too many bytes. */
export function placeBehind(row: Row, key: Uint8Array, token: bigint): LoadPlace | undefined {
  const values = row.clustering.values();
  const bytes = values.reduce((sum, value) => sum + (value?.length ?? 0), key.length + 4 * values.length);
  if (bytes > MAX_INSIDE_BYTES) return undefined;
  // Copies: a place outlives the window that its row lies in.
  return { token, inside: { key: key.slice(), bound: { clustering: clusteringOf(values), side: 1 } } };
}

export function encodePlace({ token, inside }: LoadPlace): string {
  if (inside === undefined) return String(token);
  const { key, bound } = inside;
  const parts: Uint8Array[] = [];
  for (const value of bound.clustering.values()) {
    const length = new Uint8Array(4);
    new DataView(length.buffer).setInt32(0, value?.length ?? -1);
    parts.push(length, value ?? new Uint8Array(0));
  }
  const text = (bytes: Uint8Array) => Buffer.from(bytes).toString('base64url');
  return `${token}:${text(key)}:${bound.side < 0 ? 'b' : 'a'}${text(Buffer.concat(parts))}`;
}

/** @throws RangeError when the text is none of `encodePlace` */
export function decodePlace(text: string): LoadPlace {
  if (!LOAD_PLACE_PATTERN.test(text)) throw new RangeError(`${text.slice(0, 100)} is no place of a load`);
  const [token, key, bound] = text.split(':');
  if (key === undefined || bound === undefined) return { token: BigInt(token!) };
  const bytes = new Uint8Array(Buffer.from(bound.slice(1), 'base64url'));
  const view = new DataView(bytes.buffer);
  const offsets: number[] = [];
  for (let at = 0; at < bytes.length; ) {
    const length = at + 4 > bytes.length ? bytes.length : view.getInt32(at);
    at += 4;
    if (at + length > bytes.length) throw new RangeError(`${text.slice(0, 100)} is no place of a load`);
    offsets.push(length < 0 ? -1 : at, length < 0 ? -1 : at + length);
    at += Math.max(0, length);
  }
  return {
    token: BigInt(token!),
    inside: {
      key: new Uint8Array(Buffer.from(key, 'base64url')),
      bound: { clustering: new Clustering(bytes, offsets), side: bound.startsWith('b') ? -1 : 1 },
    },
  };
}

/** The one that is furthest; of equal tokens the last one that lies inside of a partition. */
export function furthestPlace(places: readonly LoadPlace[]): LoadPlace {
  return places.reduce((best, place) => {
    if (place.token !== best.token) return place.token > best.token ? place : best;
    return place.inside === undefined ? best : place;
  });
}
