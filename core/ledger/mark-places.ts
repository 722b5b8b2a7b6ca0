/** The places of the ring that a mark names. */
import { deflateRawSync, inflateRawSync } from 'node:zlib';
import { BUCKET_COUNT, bucketRange } from '../token/buckets.ts';
import { MIN_TOKEN } from '../token/token.ts';
import { parseToken, type TokenRange, tokenRangeFromJson, unwrap, WHOLE_RING } from '../token/token-range.ts';
import type { SuspectRecord } from './records.ts';

/** Of a set of buckets as bits; bucket n is bit n % 8 of byte n / 8. */
export const BUCKET_BYTES = BUCKET_COUNT / 8;

/** A set of buckets as `SuspectRecord.buckets` holds it. @param bits `BUCKET_BYTES` of them, bucket n at bit n % 8 of byte n / 8 */
export function encodeBuckets(bits: Uint8Array): string {
  return deflateRawSync(bits).toString('base64');
}

/** @throws RangeError when the text is no such set */
export function decodeBuckets(text: string): Uint8Array {
  let bits: Uint8Array | undefined;
  try {
    bits = inflateRawSync(Buffer.from(text, 'base64'), { maxOutputLength: BUCKET_BYTES });
  } catch (cause) {
    throw new RangeError('not a set of buckets', { cause });
  }
  if (bits.length !== BUCKET_BYTES)
    throw new RangeError(`a set of buckets has ${BUCKET_BYTES} bytes, not ${bits.length}`);
  return bits;
}

/**
 * The token ranges of a mark, ascending, none of which wraps or touches another: the whole ring where nothing narrower is
 * said, or what is said can't be read.
 */
export function rangesOf(record: Pick<SuspectRecord, 'range' | 'tokens' | 'buckets'>): readonly TokenRange[] {
  try {
    const ranges = joined([
      ...(record.range ? unwrap(tokenRangeFromJson(record.range)) : []),
      ...(record.tokens ?? []).map(parseToken).flatMap(rangeOfToken),
      ...(record.buckets === undefined ? [] : rangesOfBuckets(decodeBuckets(record.buckets))),
    ]);
    return ranges.length > 0 ? ranges : [WHOLE_RING];
  } catch {
    return [WHOLE_RING];
  }
}

/** No partition has the smallest token. */
function rangeOfToken(token: bigint): TokenRange[] {
  return token === MIN_TOKEN ? [] : [{ start: token - 1n, end: token }];
}

function rangesOfBuckets(bits: Uint8Array): TokenRange[] {
  const ranges: TokenRange[] = [];
  for (let bucket = 0; bucket < BUCKET_COUNT; bucket++) {
    if ((bits[bucket >> 3]! >> (bucket & 7)) & 1) ranges.push(bucketRange(bucket));
  }
  return ranges;
}

function joined(ranges: TokenRange[]): TokenRange[] {
  ranges.sort((a, b) => (a.start < b.start ? -1 : a.start > b.start ? 1 : 0));
  const result: TokenRange[] = [];
  for (const range of ranges) {
    const last = result.at(-1);
    if (last === undefined || range.start > last.end) result.push(range);
    else if (range.end > last.end) result[result.length - 1] = { start: last.start, end: range.end };
  }
  return result;
}
