/** Writes the proxy as plain JavaScript: `node proxy-container/bundle.ts FOLDER`, for the image. */
import { join } from 'node:path';
import { bundleProgram } from '#adapters/program-bundle.ts';

const [folder] = process.argv.slice(2);
if (folder === undefined) throw new Error('where to? node proxy-container/bundle.ts FOLDER');
const source = (path: string): string => join(import.meta.dirname, 'src', path);
await bundleProgram({ main: source('main.ts'), 'journal-worker': source('journal/journal-worker.ts') }, folder);
