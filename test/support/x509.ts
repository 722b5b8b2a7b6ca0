import { createPrivateKey, generateKeyPairSync, type KeyObject, randomBytes, sign } from 'node:crypto';
import { isIP } from 'node:net';

/** A certificate and its key, both PEM. */
export interface Pem {
  readonly cert: string;
  readonly key: string;
}

/** An authority that signs certificates. */
export interface Authority extends Pem {
  readonly name: string;
}

export interface CertificateOptions {
  /** Host names and IPv4 addresses that it is for. */
  readonly names?: readonly string[];
  readonly notAfter?: Date;
}

const DAY_MS = 86_400_000;

/** A new authority with a key of its own. */
export function createAuthority(name: string): Authority {
  const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const extensions = [extension('551d13', sequence(boolean(true)), true)];
  const cert = certificate(name, name, publicKey, privateKey, extensions, new Date(Date.now() + DAY_MS));
  return { name, cert, key: pem('PRIVATE KEY', privateKey.export({ type: 'pkcs8', format: 'der' })) };
}

/** A certificate for hosts or a client, signed by the authority. */
export function issue(authority: Authority, subject: string, options: CertificateOptions = {}): Pem {
  const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const names = (options.names ?? []).map((name) =>
    isIP(name) === 4 ? tagged(0x87, Buffer.from(name.split('.').map(Number))) : tagged(0x82, Buffer.from(name)),
  );
  const extensions = names.length > 0 ? [extension('551d11', sequence(...names))] : [];
  const signer = createPrivateKey(authority.key);
  const notAfter = options.notAfter ?? new Date(Date.now() + DAY_MS);
  const cert = certificate(subject, authority.name, publicKey, signer, extensions, notAfter);
  return { cert, key: pem('PRIVATE KEY', privateKey.export({ type: 'pkcs8', format: 'der' })) };
}

/**
 * Certificate ::= SEQUENCE { tbsCertificate, signatureAlgorithm, signature }, where the first is SEQUENCE { [0] version,
 * serialNumber, signature, issuer, validity, subject, subjectPublicKeyInfo, [3] extensions } (RFC 5280, section 4.1).
 */
function certificate(
  subject: string,
  issuer: string,
  publicKey: KeyObject,
  signer: KeyObject,
  extensions: readonly Buffer[],
  notAfter: Date,
): string {
  const ecdsaWithSha256 = sequence(tagged(0x06, Buffer.from('2a8648ce3d040302', 'hex')));
  const tbs = sequence(
    tagged(0xa0, tagged(0x02, Buffer.from([2]))),
    tagged(0x02, Buffer.concat([Buffer.from([1]), randomBytes(8)])),
    ecdsaWithSha256,
    nameOf(issuer),
    sequence(utcTime(new Date(Date.now() - 30 * DAY_MS)), utcTime(notAfter)),
    nameOf(subject),
    publicKey.export({ type: 'spki', format: 'der' }),
    ...(extensions.length > 0 ? [tagged(0xa3, sequence(...extensions))] : []),
  );
  const signature = tagged(0x03, Buffer.concat([Buffer.from([0]), sign('sha256', tbs, signer)]));
  return pem('CERTIFICATE', sequence(tbs, ecdsaWithSha256, signature));
}

/** A name of one part, the common name. */
function nameOf(commonName: string): Buffer {
  const attribute = sequence(tagged(0x06, Buffer.from('550403', 'hex')), tagged(0x0c, Buffer.from(commonName)));
  return sequence(tagged(0x31, attribute));
}

function extension(oid: string, value: Buffer, isCritical = false): Buffer {
  const id = tagged(0x06, Buffer.from(oid, 'hex'));
  return isCritical ? sequence(id, boolean(true), tagged(0x04, value)) : sequence(id, tagged(0x04, value));
}

function boolean(value: boolean): Buffer {
  return tagged(0x01, Buffer.from([value ? 0xff : 0]));
}

/** YYMMDDHHMMSSZ. */
function utcTime(at: Date): Buffer {
  const text = at.toISOString().replaceAll(/[-:T]/g, '').slice(2, 14);
  return tagged(0x17, Buffer.from(`${text}Z`));
}

function sequence(...parts: readonly Buffer[]): Buffer {
  return tagged(0x30, Buffer.concat(parts));
}

/** DER: tag, length, value. */
function tagged(tag: number, value: Buffer): Buffer {
  const { length } = value;
  const head =
    length < 0x80 ? [tag, length] : length < 0x100 ? [tag, 0x81, length] : [tag, 0x82, length >> 8, length & 0xff];
  return Buffer.concat([Buffer.from(head), value]);
}

function pem(label: string, der: Buffer): string {
  const lines = der.toString('base64').match(/.{1,64}/g) ?? [];
  return `-----BEGIN ${label}-----\n${lines.join('\n')}\n-----END ${label}-----\n`;
}
