import { ReceiveMessageCommand, type SQSClient } from '@aws-sdk/client-sqs';
import { decodeMessage } from '#core/model/message.ts';

const MAX_EMPTY_LOOKS = 60;

/** Takes write times of failed writes out of a queue, each as often as it comes, until there are enough or no more come. */
export async function takeQueuedTimes(
  sqs: SQSClient,
  queueUrl: string,
  isEnough: (times: readonly string[]) => boolean,
): Promise<string[]> {
  const times: string[] = [];
  for (let empty = 0; !isEnough(times) && empty < MAX_EMPTY_LOOKS; ) {
    const receive = new ReceiveMessageCommand({
      QueueUrl: queueUrl,
      MaxNumberOfMessages: 10,
      WaitTimeSeconds: 1,
      VisibilityTimeout: 600,
    });
    const { Messages: messages = [] } = await sqs.send(receive);
    for (const { Body: body } of messages) {
      const message = decodeMessage(body!);
      if (message.kind === 'writes') for (const one of message.writes) times.push(String(one.timestampMicros));
    }
    if (messages.length === 0) empty++;
  }
  return times;
}
