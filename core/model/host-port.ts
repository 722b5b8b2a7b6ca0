import { formatInet } from '../cql/body-reader.ts';
import { encodeInet } from '../cql/value-codec.ts';

/** Reads ADDRESS, IPV4:PORT or [IPV6]:PORT, the address in one form; undefined when it is none of them. */
export function parseHostPort(text: string): { readonly address: string; readonly port?: number } | undefined {
  const bracketed = /^\[([^\]]+)\](?::(\d{1,5}))?$/.exec(text);
  const parts = bracketed ?? /^(\d+(?:\.\d+){3})(?::(\d{1,5}))?$/.exec(text) ?? [text, text];
  const port = parts[2] === undefined ? undefined : Number(parts[2]);
  if (port !== undefined && (port < 1 || port > 65_535)) return undefined;
  try {
    return { address: formatInet(encodeInet(parts[1]!)), ...(port === undefined ? {} : { port }) };
  } catch {
    return undefined;
  }
}
