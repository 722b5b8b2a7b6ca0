import { ReceiveMessageCommand, type SQSClient } from '@aws-sdk/client-sqs';
import { decodeMessage } from '#core/model/message.ts';

const MAX_EMPTY_LOOKS = 60;

/**
 * Takes write times of failed writes out of a queue, each as often as it comes, until all that are expected have come, or no
 * more come.
 * @param least how many there are at least: two clients may write in the same microsecond
 */
export async function takeQueuedTimes(
  sqs: SQSClient,
  queueUrl: string,
  expected: ReadonlySet<string>,
  least = expected.size,
): Promise<string[]> {
  const times: string[] = [];
  const missing = new Set(expected);
  for (let empty = 0; (missing.size > 0 || times.length < least) && empty < MAX_EMPTY_LOOKS; ) {
    const receive = new ReceiveMessageCommand({
      QueueUrl: queueUrl,
      MaxNumberOfMessages: 10,
      WaitTimeSeconds: 1,
      VisibilityTimeout: 600,
    });
    const { Messages: messages = [] } = await sqs.send(receive);
    for (const { Body: body } of messages) {
      const message = decodeMessage(body!);
      for (const one of message.kind === 'writes' ? message.writes : []) {
        times.push(String(one.timestampMicros));
        missing.delete(String(one.timestampMicros));
      }
    }
    if (messages.length === 0) empty++;
  }
  return times;
}
