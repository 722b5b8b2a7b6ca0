import {
  type GetEventSourceMappingCommand,
  ResourceInUseException,
  UpdateEventSourceMappingCommand,
} from '@aws-sdk/client-lambda';
import { expect, test } from 'vitest';
import { createEventSource } from '#adapters/event-source.ts';

type Command = GetEventSourceMappingCommand | UpdateEventSourceMappingCommand;

function sourceOf(answer: (command: Command) => unknown) {
  const sent: Command[] = [];
  const send = async (command: Command) => {
    sent.push(command);
    return answer(command);
  };
  return { source: createEventSource({ send } as never, 'mapping-1'), sent };
}

test.each([
  ['Enabled', 'on'],
  ['Disabled', 'off'],
  ['Enabling', 'changing'],
  ['Disabling', 'changing'],
  ['Updating', 'changing'],
  ['Creating', 'changing'],
])('a mapping that is %s is %s', async (State, expected) => {
  expect(await sourceOf(() => ({ State })).source.state()).toBe(expected);
});

test('it is switched by its id', async () => {
  const { source, sent } = sourceOf(() => ({}));
  await source.turn('off');
  await source.turn('on');
  expect(sent.map((command) => [command instanceof UpdateEventSourceMappingCommand, command.input])).toEqual([
    [true, { UUID: 'mapping-1', Enabled: false }],
    [true, { UUID: 'mapping-1', Enabled: true }],
  ]);
});

test('another change of it under way is left to the next look, and any other error is told', async () => {
  const busy = new ResourceInUseException({ message: 'updating', $metadata: {}, Type: 'User' });
  await sourceOf(() => Promise.reject(busy)).source.turn('off');
  const denied = sourceOf(() => Promise.reject(new Error('not authorized')));
  await expect(denied.source.turn('off')).rejects.toThrow('not authorized');
});
