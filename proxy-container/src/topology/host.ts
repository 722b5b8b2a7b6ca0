import { createHash } from 'node:crypto';
import { decodeInet, encodeInet } from '#core/cql/value-codec.ts';

/** Where clients reach a proxy: what drivers take for a node of the cluster. */
export interface Host {
  /** IPv4 or IPv6, as `hostAt` writes it. */
  readonly address: string;
  readonly port: number;
}

/** As many as a node of many virtual nodes has: what instances own by chance differs by a tenth. */
const TOKEN_COUNT = 128;

/** Partitioners whose tokens can be shown: where the ring begins and how wide it is. */
const RINGS: ReadonlyMap<string, { readonly start: bigint; readonly bits: bigint }> = new Map([
  ['Murmur3Partitioner', { start: -(2n ** 63n), bits: 64n }],
  ['RandomPartitioner', { start: 0n, bits: 127n }],
]);

/** A host with its address in one form, so that equal ones are equal texts. @throws ProtocolError when it is no IP address */
export function hostAt(address: string, port: number): Host {
  return { address: decodeInet(encodeInet(address.replace(/^::ffff:(?=\d+\.)/, ''))), port };
}

export function sameHost(a: Host, b: Host): boolean {
  return a.address === b.address && a.port === b.port;
}

export function compareHosts(a: Host, b: Host): number {
  return Buffer.compare(encodeInet(a.address), encodeInet(b.address)) || a.port - b.port;
}

/** The same for the same host on every instance and in every phase. A name-based UUID (RFC 9562, version 5). */
export function hostIdOf({ address, port }: Host): string {
  return nameBasedUuid(`ringshift proxy ${address}:${port}`);
}

/** A UUID of version 5, of a name that needs no name space. */
export function nameBasedUuid(name: string): string {
  const bytes = createHash('sha1').update(name).digest().subarray(0, 16);
  bytes[6] = (bytes[6]! & 0x0f) | 0x50;
  bytes[8] = (bytes[8]! & 0x3f) | 0x80;
  const hex = bytes.toString('hex');
  return [hex.slice(0, 8), hex.slice(8, 12), hex.slice(12, 16), hex.slice(16, 20), hex.slice(20)].join('-');
}

export function canShowTokens(partitioner: string): boolean {
  return RINGS.has(shortName(partitioner));
}

/**
 * Decimal tokens of a host, in the order of their text, as a set has them. One in each of equal parts of the ring, at a
 * place that follows from the host id alone: the same whoever else is there, and no two hosts have one in common.
 */
export function tokensOf(hostId: string, partitioner: string): string[] {
  const { start, bits } = RINGS.get(shortName(partitioner)) ?? RINGS.get('Murmur3Partitioner')!;
  const step = 2n ** bits / BigInt(TOKEN_COUNT);
  const tokens = Array.from({ length: TOKEN_COUNT }, (_, index) => {
    const digest = createHash('sha256').update(`${hostId}/${index}`).digest('hex');
    // The lowest Murmur3 token stands for "before everything" and belongs to nobody.
    return String(start + BigInt(index) * step + 1n + (BigInt(`0x${digest}`) % (step - 1n)));
  });
  return tokens.sort();
}

/** org.apache.cassandra.dht.Murmur3Partitioner → Murmur3Partitioner */
function shortName(partitioner: string): string {
  return partitioner.slice(partitioner.lastIndexOf('.') + 1);
}
