/** What applications were told of single values: by this a cluster's rows are held to be right or wrong. */

/** A value that only one writer changes: what was acknowledged last, and what may have happened since. */
export class Register {
  acknowledged: string | null = null;
  readonly unknown = new Set<string | null>();

  acknowledge(value: string | null): void {
    this.acknowledged = value;
    this.unknown.clear();
  }

  allows(found: string | null): boolean {
    return found === this.acknowledged || this.unknown.has(found);
  }

  toString(): string {
    return `acknowledged was ${this.acknowledged}, unknown are ${[...this.unknown]}`;
  }
}

/** Something to which only one writer adds, each addition once. */
export class Tally {
  readonly acknowledged = new Set<number>();
  readonly unknown = new Set<number>();

  acknowledge(element: number): void {
    this.unknown.delete(element);
    this.acknowledged.add(element);
  }
}

export interface Verdict {
  /** Acknowledged, and not on the cluster. */
  readonly lost: string[];
  readonly duplicated: string[];
}

export function judgeRegister(register: Register, found: string | null, what: string, { lost }: Verdict): void {
  if (!register.allows(found)) lost.push(`${what} is ${found}, ${register}`);
}

export function judgeList(
  { acknowledged, unknown }: Tally,
  found: readonly number[],
  what: string,
  { lost, duplicated }: Verdict,
): void {
  const distinct = new Set(found);
  const missing = [...acknowledged].filter((element) => !distinct.has(element));
  const strange = [...distinct].filter((element) => !acknowledged.has(element) && !unknown.has(element));
  if (missing.length + strange.length > 0) lost.push(`${what} lacks ${missing}, has ${strange}`);
  if (distinct.size < found.length) duplicated.push(`${what} is ${found}`);
}

export function judgeCounter(
  { acknowledged, unknown }: Tally,
  found: number,
  what: string,
  { lost, duplicated }: Verdict,
): void {
  if (found < acknowledged.size) lost.push(`${what} is ${found}, not ${acknowledged.size}`);
  const most = acknowledged.size + unknown.size;
  if (found > most) duplicated.push(`${what} is ${found}, at most ${most} were counted`);
}
