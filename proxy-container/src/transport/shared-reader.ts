import { Socket } from 'node:net';

const READ_BYTES = 128 * 1024;
const SLAB_BYTES = 64 * 1024;

/** What `net` hands to a socket that reads into a buffer of the caller. */
interface OnRead {
  readonly buffer: Uint8Array;
  /** Never false: whether the socket is read at all, `pause()` and `resume()` say. */
  callback(byteCount: number, buffer: Uint8Array): boolean;
}

/** An accepted socket's handle, which `net` does not document. */
interface WithHandle {
  _handle?: { reading?: boolean } | null;
}

/**
 * Reads all sockets of a process into one buffer, and moves what came into slabs that chunks share: a read allocates
 * nothing but the view of its bytes, and a socket on which nothing happens holds no memory.
 */
export class SharedReader {
  readonly #buffer = Buffer.allocUnsafeSlow(READ_BYTES);
  #slab = Buffer.alloc(0);
  #used = 0;

  /** For `net.connect`. The chunks belong to `take`. */
  onRead(take: (chunk: Buffer) => void): OnRead {
    return {
      buffer: this.#buffer,
      callback: (byteCount) => {
        take(this.#own(byteCount));
        return true;
      },
    };
  }

  /**
   * The same connection as a socket that reads into the shared buffer, where that is possible; else the socket itself,
   * whose chunks are taken from its `data` events.
   * @param socket as a server has accepted it, not read yet (`pauseOnConnect`)
   */
  adopt(socket: Socket, take: (chunk: Buffer) => void): Socket {
    const handle = (socket as WithHandle)._handle;
    if (Object.getPrototypeOf(socket) !== Socket.prototype || !handle) {
      socket.on('data', take);
      socket.resume();
      return socket;
    }
    // Only a socket's constructor takes `onread`, and only this way it takes an open connection.
    (socket as WithHandle)._handle = null;
    const adopted = new Socket({ handle, onread: this.onRead(take) } as ConstructorParameters<typeof Socket>[0]);
    // Without its handle this closes nothing; the server no longer counts it.
    socket.destroy();
    return adopted;
  }

  #own(byteCount: number): Buffer {
    if (this.#used + byteCount > this.#slab.length) {
      if (byteCount > SLAB_BYTES / 2) return Buffer.from(this.#buffer.subarray(0, byteCount));
      this.#slab = Buffer.allocUnsafeSlow(SLAB_BYTES);
      this.#used = 0;
    }
    const start = this.#used;
    this.#used += byteCount;
    this.#buffer.copy(this.#slab, start, 0, byteCount);
    return this.#slab.subarray(start, this.#used);
  }
}
