import { createServer as createHttps, type Server as HttpsServer } from 'node:https';
import { type AddressInfo, connect } from 'node:net';
import { createServer as createTlsServer, type TLSSocket } from 'node:tls';
import { crc32, deflateRawSync } from 'node:zlib';
import { type Authority, createAuthority, issue } from './x509.ts';

const HOST = { names: ['127.0.0.1', 'localhost'] };

/** A zip archive; every second file is stored as it is. */
export function writeZip(files: Readonly<Record<string, string>>): Buffer {
  const parts: Buffer[] = [];
  const entries: Buffer[] = [];
  let offset = 0;
  for (const [index, [name, text]] of Object.entries(files).entries()) {
    const bytes = Buffer.from(text);
    const packed = index % 2 === 0 ? deflateRawSync(bytes) : bytes;
    const common = Buffer.alloc(26);
    common.writeUInt16LE(20, 0);
    common.writeUInt16LE(index % 2 === 0 ? 8 : 0, 4);
    common.writeUInt32LE(crc32(bytes), 10);
    common.writeUInt32LE(packed.length, 14);
    common.writeUInt32LE(bytes.length, 18);
    common.writeUInt16LE(name.length, 22);
    const local = Buffer.concat([Buffer.from('PK\x03\x04'), common, Buffer.from(name), packed]);
    const tail = Buffer.alloc(14);
    tail.writeUInt32LE(offset, 10);
    entries.push(Buffer.concat([Buffer.from('PK\x01\x02\x14\x00'), common, tail, Buffer.from(name)]));
    parts.push(local);
    offset += local.length;
  }
  const list = Buffer.concat(entries);
  const end = Buffer.alloc(18);
  end.writeUInt16LE(entries.length, 4);
  end.writeUInt16LE(entries.length, 6);
  end.writeUInt32LE(list.length, 8);
  end.writeUInt32LE(offset, 12);
  return Buffer.concat([...parts, list, Buffer.from('PK\x05\x06'), end]);
}

/** What a bundle leads to: a metadata service, and a proxy that tells the nodes apart by the name that TLS asks for (SNI). */
export class BundleStub {
  /** Ports of the nodes on 127.0.0.1, by host id. */
  readonly nodes = new Map<string, number>();
  /** Host ids that were asked for. */
  readonly asked: string[] = [];
  /** Where the service says that the proxy is; where it really is unless given. */
  proxyAddress: string | undefined;
  readonly authority: Authority = createAuthority('the authority of the bundle');
  /** cassandra-driver looks for addresses in the common name alone. */
  readonly #own = issue(this.authority, '127.0.0.1', HOST);
  readonly #proxy = createTlsServer(this.#tls(), (socket) => this.#lead(socket));
  readonly #service: HttpsServer = createHttps(this.#tls(), (request, response) => {
    if (request.url !== '/metadata') response.statusCode = 404;
    const contactInfo = {
      type: 'sni_proxy',
      local_dc: 'dc1',
      contact_points: [...this.nodes.keys()],
      sni_proxy_address: this.proxyAddress ?? `localhost:${portOf(this.#proxy)}`,
    };
    response.end(JSON.stringify({ version: 1, region: 'local', contact_info: contactInfo }));
  });

  get proxyPort(): number {
    return portOf(this.#proxy);
  }

  async start(): Promise<void> {
    for (const server of [this.#proxy, this.#service]) {
      await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    }
  }

  /** The bundle of an application that may come in. */
  bundle(): Buffer {
    const own = issue(this.authority, 'application');
    return writeZip({
      'config.json': JSON.stringify({ host: 'localhost', port: portOf(this.#service), keyspace: 'ks' }),
      'ca.crt': this.authority.cert,
      cert: own.cert,
      key: own.key,
    });
  }

  async stop(): Promise<void> {
    this.#service.closeAllConnections();
    await Promise.all([this.#proxy, this.#service].map((server) => new Promise((resolve) => server.close(resolve))));
  }

  #tls() {
    return { ...this.#own, ca: this.authority.cert, requestCert: true, rejectUnauthorized: true };
  }

  #lead(socket: TLSSocket): void {
    const hostId = socket.servername || '';
    this.asked.push(hostId);
    const port = this.nodes.get(hostId);
    socket.on('error', () => undefined);
    if (port === undefined) {
      socket.destroy();
      return;
    }
    const node = connect(port, '127.0.0.1');
    node.on('error', () => socket.destroy()).on('close', () => socket.destroy());
    socket.on('close', () => node.destroy());
    socket.pipe(node).pipe(socket);
  }
}

function portOf(server: { address(): AddressInfo | string | null }): number {
  return (server.address() as AddressInfo).port;
}
