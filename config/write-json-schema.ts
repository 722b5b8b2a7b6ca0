/** Writes the JSON Schemas that editors use, from the schemas that the code parses with: `npm run schema`. */
import { writeFile } from 'node:fs/promises';
import { z } from 'zod';
import { indexListSchema } from '#core/config/index-list.ts';
import { migrationConfigSchema } from '#core/config/schema.ts';
import { filterRulesSchema } from '#core/filter/filter-rules.ts';

const schemas = { migration: migrationConfigSchema, 'filter-rules': filterRulesSchema, indexes: indexListSchema };

/** File names (in `config/`) and their texts. */
export function renderJsonSchemas(): Readonly<Record<string, string>> {
  return Object.fromEntries(
    Object.entries(schemas).map(([name, schema]) => [
      `${name}.schema.json`,
      `${JSON.stringify(z.toJSONSchema(schema, { io: 'input', target: 'draft-07', unrepresentable: 'any' }), null, 2)}\n`,
    ]),
  );
}

if (import.meta.main) {
  for (const [name, text] of Object.entries(renderJsonSchemas())) {
    await writeFile(new URL(name, import.meta.url), text);
    process.stdout.write(`${name}\n`);
  }
}
