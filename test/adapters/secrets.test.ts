import type { SecretsManagerClient } from '@aws-sdk/client-secrets-manager';
import { expect, test } from 'vitest';
import { createSecretReader } from '#adapters/secrets.ts';

function readerOf(answer: () => { SecretString?: string }) {
  const state = { calls: 0, nowMillis: 0 };
  const client = {
    send: async () => {
      state.calls++;
      return answer();
    },
  } as unknown as SecretsManagerClient;
  return { state, secrets: createSecretReader(client, { nowMillis: () => state.nowMillis }, 1000) };
}

const failing = (name: string) => () => {
  throw Object.assign(new Error('refused'), { name });
};

test('a secret is read once until its time is over', async () => {
  const { state, secrets } = readerOf(() => ({ SecretString: '{"username":"u","password":"p","host":"x"}' }));
  await Promise.all([secrets.credentials('name'), secrets.credentials('name')]);
  expect(state.calls).toBe(1);
  state.nowMillis = 1000;
  expect(await secrets.credentials('name')).toEqual({ username: 'u', password: 'p' });
  expect(state.calls).toBe(2);
});

test('a secret that a cluster refused is read anew', async () => {
  const { state, secrets } = readerOf(() => ({ SecretString: '{"username":"u","password":"p"}' }));
  await secrets.credentials('name');
  secrets.forget('name');
  await secrets.credentials('name');
  expect(state.calls).toBe(2);
});

test('a failure is not remembered', async () => {
  let isUp = false;
  const { secrets } = readerOf(() => (isUp ? { SecretString: 'text' } : failing('InternalServiceError')()));
  await expect(secrets.text('name')).rejects.toThrow();
  isUp = true;
  expect(await secrets.text('name')).toBe('text');
});

test('a secret of another form is refused without showing it', async () => {
  const { secrets } = readerOf(() => ({ SecretString: '{"user":"hunter2"}' }));
  const error: unknown = await secrets.credentials('name').catch((thrown: unknown) => thrown);
  expect(error).toMatchObject({ name: 'PrerequisiteError' });
  expect(JSON.stringify(error, Object.getOwnPropertyNames(error))).not.toContain('hunter2');
});

test.each([
  ['ResourceNotFoundException', 'PrerequisiteError'],
  ['AccessDeniedException', 'AuthenticationFailedError'],
])('%s becomes %s and names the secret', async (theirs, ours) => {
  const { secrets } = readerOf(failing(theirs));
  await expect(secrets.text('the/name')).rejects.toMatchObject({
    name: ours,
    message: expect.stringContaining('the/name'),
  });
});
