import { Command, CommanderError } from 'commander';
import { expect, test } from 'vitest';
import { runRingshift } from './run-ringshift.ts';

const files = [
  'demo',
  'local',
  'proxy',
  'schema',
  'snapshot',
  'load',
  'tables',
  'validate',
  'reconcile',
  'phase',
  'cutover',
  'rollback',
  'replay',
  'sstable',
  'state',
  'deploy',
];

/** Every verb with its options, from the definitions themselves. */
async function verbs(): Promise<{ path: string[]; options: string[] }[]> {
  const found: { path: string[]; options: string[] }[] = [];
  const walk = (command: Command, path: string[]): void => {
    const options = command.options.map((option) => option.long ?? option.short ?? '');
    found.push({ path, options });
    for (const inner of command.commands) walk(inner, [...path, inner.name()]);
  };
  for (const file of files) {
    const { register } = (await import(`../../cli/${file}.ts`)) as { register(program: Command): void };
    const program = new Command();
    register(program);
    for (const command of program.commands) walk(command, [command.name()]);
  }
  return found;
}

test('--help of the command lists every verb', async () => {
  const { code, stdout } = await runRingshift(['--help']);
  expect(code).toBe(0);
  for (const verb of files) expect(stdout).toMatch(new RegExp(`^ {2}${verb}\\b`, 'm'));
});

/** What the command prints for these arguments; the verbs are registered as it registers them. */
async function helpOf(path: readonly string[]): Promise<{ code: number; stdout: string; stderr: string }> {
  const printed = { stdout: '', stderr: '' };
  const program = new Command('ringshift').exitOverride().configureOutput({
    writeOut: (text) => {
      printed.stdout += text;
    },
    writeErr: (text) => {
      printed.stderr += text;
    },
  });
  for (const file of files) {
    const { register } = (await import(`../../cli/${file}.ts`)) as { register(program: Command): void };
    register(program);
  }
  const exit = await program.parseAsync(['node', 'ringshift', ...path, '--help']).catch((error: unknown) => error);
  if (!(exit instanceof CommanderError)) throw new Error(`${path.join(' ')} --help did not end the command`);
  return { code: exit.exitCode, ...printed };
}

test('--help of every verb exits 0 and names its options and the verbs below it', async () => {
  const all = await verbs();
  expect(all.length).toBeGreaterThan(30);
  for (const { path, options } of all) {
    const { code, stdout, stderr } = await helpOf(path);
    expect({ path, code, stderr }).toEqual({ path, code: 0, stderr: '' });
    for (const option of options) expect(stdout, path.join(' ')).toContain(option);
    const below = all.filter(
      (other) => other.path.length === path.length + 1 && path.every((name, at) => other.path[at] === name),
    );
    for (const other of below) expect(stdout, path.join(' ')).toMatch(new RegExp(`^ {2}${other.path.at(-1)}\\b`, 'm'));
  }
});

test.each(['load start', 'phase', 'proxy'])('the command itself prints the same for %s --help', async (verb) => {
  const path = verb.split(' ');
  const { code, stdout, stderr } = await runRingshift([...path, '--help']);
  expect({ code, stdout, stderr }).toEqual(await helpOf(path));
});

test('every verb that works on a migration takes --config, and every verb with a result --json', async () => {
  const leaves = (await verbs()).filter(
    ({ path }, _, all) =>
      !all.some((other) => other.path.length > path.length && path.every((name, at) => other.path[at] === name)),
  );
  const without = (option: string) =>
    leaves.filter(({ options }) => !options.includes(option)).map(({ path }) => path.join(' '));
  expect(without('--config')).toEqual([
    'demo',
    'local up',
    'local down',
    'local status',
    'sstable dump',
    'sstable info',
    'sstable verify',
  ]);
  expect(without('--json')).toEqual(['demo', 'local up', 'local down', 'proxy']);
});
