/** How far a load has come in its range, as a small text for plans, ledger records and state machines. */

import { type Positioned, sideOf } from '../merge/compare-clustering.ts';
import type { ClusteringBound, PartitionSlice } from '../model/clustering-bound.ts';
import { Clustering, clusteringOf } from '../model/row.ts';
import { tokenOf } from '../token/token.ts';

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

export const KEY_PATTERN = /^[\w-]{0,11000}$/;
export const BOUND_PATTERN = /^[ab][\w-]{0,11000}$/;

/** A slice of a partition as small texts. */
export interface SliceText {
  readonly key: string;
  readonly from?: string | undefined;
  readonly to?: string | undefined;
}

/** Whether a place in a partition is small enough to be written down. */
export function isSmallPlace(key: Uint8Array, clustering: Clustering): boolean {
  const values = clustering.values();
  const bytes = values.reduce((sum, value) => sum + (value?.length ?? 0), key.length + 4 * values.length);
  return bytes <= MAX_INSIDE_BYTES;
}

/** Just behind a row, or where a marker stands; undefined when that takes too many bytes. */
export function placeBehind(event: Positioned, key: Uint8Array, token: bigint): LoadPlace | undefined {
  if (!isSmallPlace(key, event.clustering)) return undefined;
  const side = event.kind === 'marker' && sideOf(event) < 0 ? -1 : 1;
  // Copies: a place outlives the window that its row lies in.
  return {
    token,
    inside: { key: new Uint8Array(key), bound: { clustering: clusteringOf(event.clustering.values()), side } },
  };
}

export function encodePlace({ token, inside }: LoadPlace): string {
  return inside === undefined ? String(token) : `${token}:${toText(inside.key)}:${encodeBound(inside.bound)}`;
}

export function encodeSlice({ key, from, to }: Omit<PartitionSlice, 'token'>): SliceText {
  return {
    key: toText(key),
    ...(from === undefined ? {} : { from: encodeBound(from) }),
    ...(to === undefined ? {} : { to: encodeBound(to) }),
  };
}

/** @throws RangeError when the texts are none of `encodeSlice` */
export function decodeSlice({ key, from, to }: SliceText): PartitionSlice {
  const bytes = toBytes(key);
  const bound = (text: string | undefined) => (text === undefined ? undefined : decodeBound(text));
  return { key: bytes, token: tokenOf(bytes), from: bound(from), to: bound(to) };
}

/** A letter for the side, then { i32 length, or −1; bytes } for each clustering value, in base64url. */
function encodeBound(bound: ClusteringBound): string {
  const parts: Uint8Array[] = [];
  for (const value of bound.clustering.values()) {
    const length = new Uint8Array(4);
    new DataView(length.buffer).setInt32(0, value?.length ?? -1);
    parts.push(length, value ?? new Uint8Array(0));
  }
  return `${bound.side < 0 ? 'b' : 'a'}${toText(Buffer.concat(parts))}`;
}

/** @throws RangeError when the text is none of `encodePlace` */
export function decodePlace(text: string): LoadPlace {
  if (!LOAD_PLACE_PATTERN.test(text)) throw new RangeError(`${text.slice(0, 100)} is no place of a load`);
  const [token, key, bound] = text.split(':');
  if (key === undefined || bound === undefined) return { token: BigInt(token!) };
  return { token: BigInt(token!), inside: { key: toBytes(key), bound: decodeBound(bound) } };
}

function decodeBound(text: string): ClusteringBound {
  const bytes = toBytes(text.slice(1));
  const view = new DataView(bytes.buffer);
  const offsets: number[] = [];
  for (let at = 0; at < bytes.length; ) {
    const length = at + 4 > bytes.length ? bytes.length : view.getInt32(at);
    at += 4;
    if (at + length > bytes.length) throw new RangeError(`${text.slice(0, 100)} is no place of a load`);
    offsets.push(length < 0 ? -1 : at, length < 0 ? -1 : at + length);
    at += Math.max(0, length);
  }
  return { clustering: new Clustering(bytes, offsets), side: text.startsWith('b') ? -1 : 1 };
}

function toText(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('base64url');
}

function toBytes(text: string): Uint8Array {
  return new Uint8Array(Buffer.from(text, 'base64url'));
}

/** The one that is furthest; of equal tokens the last one that lies inside of a partition. */
export function furthestPlace(places: readonly LoadPlace[]): LoadPlace {
  return places.reduce((best, place) => {
    if (place.token !== best.token) return place.token > best.token ? place : best;
    return place.inside === undefined ? best : place;
  });
}
