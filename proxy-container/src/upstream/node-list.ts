/** A node of a cluster, and how it has behaved. */
interface Node {
  readonly host: string;
  failures: number;
  /** Tried after all others before this time; milliseconds of performance.now(). */
  retryAtMs: number;
}

const MIN_BACKOFF_MS = 500;
const MAX_BACKOFF_MS = 10_000;

/** The nodes of one cluster: which there are, and in what order to try them. */
export class NodeList {
  readonly #contactPoints: ReadonlySet<string>;
  #nodes: Node[];
  #turn = 0;

  constructor(contactPoints: readonly string[]) {
    this.#contactPoints = new Set(contactPoints);
    this.#nodes = contactPoints.map(newNode);
  }

  get hosts(): readonly string[] {
    return this.#nodes.map(({ host }) => host);
  }

  get count(): number {
    return this.#nodes.length;
  }

  /**
   * Takes the nodes that the cluster names now. Contact points stay: they may be names, or lead through a network that
   * the cluster knows nothing of.
   * @returns those that are no more
   */
  setDiscovered(hosts: readonly string[]): readonly string[] {
    const wanted = new Set([...this.#contactPoints, ...hosts]);
    const known = new Set(this.hosts);
    const gone = this.hosts.filter((host) => !wanted.has(host));
    const stays = this.#nodes.filter(({ host }) => wanted.has(host));
    this.#nodes = [...stays, ...[...wanted].filter((host) => !known.has(host)).map(newNode)];
    return gone;
  }

  /**
   * By turns, the one with the fewest connections first where `connectionsOf` tells how many there are; those that failed
   * lately last.
   */
  inOrder(nowMs: number, connectionsOf?: (host: string) => number): string[] {
    const count = this.#nodes.length;
    const start = this.#turn++ % Math.max(count, 1);
    const inTurn = this.#nodes.map((_, index) => this.#nodes[(start + index) % count]!);
    const order = connectionsOf
      ? inTurn.toSorted((left, right) => connectionsOf(left.host) - connectionsOf(right.host))
      : inTurn;
    const isDue = (node: Node): boolean => node.retryAtMs <= nowMs;
    return [...order.filter(isDue), ...order.filter((node) => !isDue(node))].map(({ host }) => host);
  }

  /** One of the nodes without a connection that did not fail lately; undefined: there is none. */
  uncovered(nowMs: number, covered: ReadonlySet<string>): string | undefined {
    return this.#nodes.find(({ host, retryAtMs }) => retryAtMs <= nowMs && !covered.has(host))?.host;
  }

  /** Whether one of them did not fail lately. */
  hasHope(nowMs: number): boolean {
    return this.#nodes.some(({ retryAtMs }) => retryAtMs <= nowMs);
  }

  noteSuccess(host: string): void {
    const node = this.#find(host);
    if (!node) return;
    node.failures = 0;
    node.retryAtMs = 0;
  }

  noteFailure(host: string, nowMs: number): void {
    const node = this.#find(host);
    if (!node) return;
    node.retryAtMs = nowMs + Math.min(MAX_BACKOFF_MS, MIN_BACKOFF_MS * 2 ** Math.min(node.failures++, 10));
  }

  #find(host: string): Node | undefined {
    return this.#nodes.find((node) => node.host === host);
  }
}

function newNode(host: string): Node {
  return { host, failures: 0, retryAtMs: 0 };
}
