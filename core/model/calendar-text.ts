const DAY_SECONDS = 86_400n;
const MICROS = 1_000_000n;

/** A day of the proleptic Gregorian calendar as `yyyy-mm-dd`; years beyond 9999 with a sign. Days since 1970-01-01. */
export function dayText(days: number): string {
  // Howard Hinnant's civil_from_days: eras of 400 years, years that begin in March. Dates go beyond what Date can hold.
  const shifted = days + 719_468;
  const era = Math.floor(shifted / 146_097);
  const dayOfEra = shifted - era * 146_097;
  const yearOfEra = Math.floor(
    (dayOfEra - Math.floor(dayOfEra / 1460) + Math.floor(dayOfEra / 36_524) - Math.floor(dayOfEra / 146_096)) / 365,
  );
  const dayOfYear = dayOfEra - (365 * yearOfEra + Math.floor(yearOfEra / 4) - Math.floor(yearOfEra / 100));
  const shiftedMonth = Math.floor((5 * dayOfYear + 2) / 153);
  const day = dayOfYear - Math.floor((153 * shiftedMonth + 2) / 5) + 1;
  const month = shiftedMonth < 10 ? shiftedMonth + 3 : shiftedMonth - 9;
  const year = yearOfEra + era * 400 + (month <= 2 ? 1 : 0);
  const sign = year < 0 ? '-' : year > 9999 ? '+' : '';
  return `${sign}${pad(Math.abs(year), 4)}-${pad(month, 2)}-${pad(day, 2)}`;
}

/** A time of day as `hh:mm:ss`, with as many digits behind the point as asked for. */
export function timeOfDayText(nanosOfDay: bigint, digits: 0 | 3 | 6 | 9): string {
  const seconds = Number(nanosOfDay / 1_000_000_000n);
  const text = [Math.floor(seconds / 3600), Math.floor(seconds / 60) % 60, seconds % 60]
    .map((n) => pad(n, 2))
    .join(':');
  return digits === 0 ? text : `${text}.${(nanosOfDay % 1_000_000_000n).toString().padStart(9, '0').slice(0, digits)}`;
}

/** An instant as ISO 8601 in UTC with 0, 3 or 6 digits behind the point, as few as keep it exact. */
export function instantText(micros: bigint): string {
  const fraction = floorModulo(micros, MICROS);
  return calendarText(micros, 'T', fraction === 0n ? 0 : fraction % 1000n === 0n ? 3 : 6);
}

/** An instant as CQL prints timestamps: `yyyy-mm-dd hh:mm:ss.mmmZ`. */
export function timestampText(millis: bigint): string {
  return calendarText(millis * 1000n, ' ', 3);
}

function calendarText(micros: bigint, separator: string, digits: 0 | 3 | 6): string {
  const microsOfDay = floorModulo(micros, DAY_SECONDS * MICROS);
  const days = Number((micros - microsOfDay) / (DAY_SECONDS * MICROS));
  return `${dayText(days)}${separator}${timeOfDayText(microsOfDay * 1000n, digits)}Z`;
}

function floorModulo(value: bigint, by: bigint): bigint {
  const rest = value % by;
  return rest < 0n ? rest + by : rest;
}

function pad(value: number, width: number): string {
  return value.toString().padStart(width, '0');
}
