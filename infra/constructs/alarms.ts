import { Duration } from 'aws-cdk-lib';
import {
  Alarm,
  ComparisonOperator,
  type IAlarmAction,
  type Metric,
  type MetricOptions,
  TreatMissingData,
} from 'aws-cdk-lib/aws-cloudwatch';
import { SnsAction } from 'aws-cdk-lib/aws-cloudwatch-actions';
import { Topic } from 'aws-cdk-lib/aws-sns';
import { Construct } from 'constructs';
import type { Deployment } from '../deployment.ts';

interface AlarmOptions {
  /** What happened, and what to do: shown to whoever is woken. */
  readonly description: string;
  /** Periods of a minute in a row before it rings. */
  readonly periods?: number;
}

const ALARM_PERIOD: MetricOptions = { period: Duration.minutes(1) };

/** Alarms of one stack; they tell the topic of `deploy.aws.alarmTopicArn`, if there is one. */
export class Alarms extends Construct {
  readonly #prefix: string;
  readonly #action?: IAlarmAction;

  constructor(scope: Construct, id: string, deployment: Deployment) {
    super(scope, id);
    this.#prefix = deployment.options.name;
    const topicArn = deployment.config.deploy.aws.alarmTopicArn;
    if (topicArn !== null) this.#action = new SnsAction(Topic.fromTopicArn(this, 'Topic', topicArn));
  }

  /** Rings when the metric is above the threshold; no data is no alarm, as an idle migration has none. */
  above(name: string, metric: Metric, threshold: number, options: AlarmOptions) {
    const alarm = new Alarm(this, name, {
      alarmName: `${this.#prefix}-${name.replaceAll(/(?<=[a-z])(?=[A-Z])/g, '-').toLowerCase()}`,
      alarmDescription: options.description,
      metric: metric.with(ALARM_PERIOD),
      threshold,
      comparisonOperator: ComparisonOperator.GREATER_THAN_THRESHOLD,
      evaluationPeriods: options.periods ?? 1,
      treatMissingData: TreatMissingData.NOT_BREACHING,
    });
    if (this.#action !== undefined) alarm.addAlarmAction(this.#action);
  }
}
