/**
 * The LZ4 and Snappy decoders of `block-decoders.wat` as WebAssembly: some five times as fast as loops over bytes in
 * JavaScript, no native module, and small enough to stand here, so that every bundler takes it along. A test compiles
 * the source again and compares.
 */
const MODULE_BASE64 = [
  'AGFzbQEAAAABDwJgA39/fwBgBH9/f38BfwMFBAAAAQEFAwEAAgclAwZtZW1vcnkCAAlkZWNvZGVMejQAAgxkZWNvZGVTbmFwcHkAAwqTBwQvAQF/',
  'IAEgAmohAwNAIAEgAP0ABAD9CwQAIABBEGohACABQRBqIQEgASADSQ0ACwujAQECfyABIAJqIQQgASAAayEDIABBCEkEQCABIAMtAAA6AAAgASAD',
  'LQABOgABIAEgAy0AAjoAAiABIAMtAAM6AAMgASADLQAEOgAEIAEgAy0ABToABSABIAMtAAY6AAYgASADLQAHOgAHIAFBCGohASABIAAgAEEHaiAA',
  'bmxrIQMLA0AgASADKQMANwMAIANBCGohAyABQQhqIQEgASAESQ0ACwvjAgEFfyACIQQCQANAIAAgAU8NASAALQAAIQUgAEEBaiEAIAVBBHYhBiAG',
  'QQ9GBEADQCAAIAFPDQMgAC0AACEHIABBAWohACAGIAdqIQYgB0H/AUYNAAsLIAYgASAAa0sNASAGIAMgBGtLDQEgBCAA/QAEAP0LBAAgBkEQSwRA',
  'IABBEGogBEEQaiAGQRBrEAALIAAgBmohACAEIAZqIQQgACABRgRAIAQgAmsPCyABIABrQQJJDQEgAC8BACEIIABBAmohACAIRQ0BIAggBCACa0sN',
  'ASAFQQ9xIQYgBkEPRgRAA0AgACABTw0DIAAtAAAhByAAQQFqIQAgBiAHaiEGIAdB/wFGDQALCyAGQQRqIQYgBiADIARrSw0BIAhBEE8EQCAEIAQg',
  'CGv9AAQA/QsEACAGQRBLBEAgBCAIa0EQaiAEQRBqIAZBEGsQAAsFIAggBCAGEAELIAQgBmohBAwACwtBfwvWAgEGfyACIQQCQANAIAAgAU8EQCAE',
  'IAJrDwsgAC0AACEFIABBAWohACAFQQNxIQYgBUECdkEBaiEHIAZFBEAgB0E8SwRAIAdBPGshCCAIIAEgAGtLDQMgACgCAEF/QSAgCEEDdGt2cUEB',
  'aiEHIAdFDQMgACAIaiEACyAHIAEgAGtLDQIgByADIARrSw0CIAAgBCAHEAAgACAHaiEAIAQgB2ohBAwBCyAGQQFGBEAgACABTw0CIAVBAnZBB3FB',
  'BGohByAFQeABcUEDdCAALQAAciEJIABBAWohAAUgBkECRgRAIAEgAGtBAkkNAyAALwEAIQkgAEECaiEABSABIABrQQRJDQMgACgCACEJIABBBGoh',
  'AAsLIAlFDQEgCSAEIAJrSw0BIAcgAyAEa0sNASAJQRBPBEAgBCAJayAEIAcQAAUgCSAEIAcQAQsgBCAHaiEEDAALC0F/Cw==',
].join('');

/** Above this, blocks are decoded elsewhere: lengths inside of the module stay below 2^31, its memory small. */
export const MAX_BLOCK_BYTES = 4 * 1024 * 1024;

/** How far copies may go beyond their end. */
const SLACK_BYTES = 32;
const PAGE_BYTES = 64 * 1024;

interface Memory {
  readonly buffer: ArrayBuffer;
  grow(pages: number): number;
}
type Decode = (from: number, fromEnd: number, start: number, toEnd: number) => number;
interface Decoders {
  readonly memory: Memory;
  readonly decodeLz4: Decode;
  readonly decodeSnappy: Decode;
}
// The part of the global that is used here; its types come with those of browsers only.
declare const WebAssembly: {
  readonly Module: new (bytes: Uint8Array) => object;
  readonly Instance: new (module: object) => { readonly exports: object };
};

/** The bytes of the module, for the test that compiles it from its source. */
export function blockDecodersModule(): Uint8Array {
  return Buffer.from(MODULE_BASE64, 'base64');
}

const { memory, decodeLz4, decodeSnappy } = new WebAssembly.Instance(new WebAssembly.Module(blockDecodersModule()))
  .exports as Decoders;
// Scratch: a decoder reads and writes nothing else, and what earlier blocks left there never comes out of it.
let scratch = new Uint8Array(memory.buffer);

/**
 * Decodes the LZ4 block in `input` [inputStart, inputEnd) into `output` [outputStart, outputEnd), neither longer than
 * MAX_BLOCK_BYTES. Returns the bytes written, or -1 when the block is broken or does not fit.
 */
export function decodeLz4InScratch(
  input: Uint8Array,
  inputStart: number,
  inputEnd: number,
  output: Uint8Array,
  outputStart: number,
  outputEnd: number,
): number {
  return run(decodeLz4, input, inputStart, inputEnd, output, outputStart, outputEnd);
}

/** The same for a Snappy block without the plain length that it begins with. */
export function decodeSnappyInScratch(
  input: Uint8Array,
  inputStart: number,
  inputEnd: number,
  output: Uint8Array,
  outputStart: number,
  outputEnd: number,
): number {
  return run(decodeSnappy, input, inputStart, inputEnd, output, outputStart, outputEnd);
}

function run(
  decode: Decode,
  input: Uint8Array,
  inputStart: number,
  inputEnd: number,
  output: Uint8Array,
  outputStart: number,
  outputEnd: number,
): number {
  const inputBytes = inputEnd - inputStart;
  const outputBytes = outputEnd - outputStart;
  if (inputBytes > MAX_BLOCK_BYTES || outputBytes > MAX_BLOCK_BYTES) return -1;
  const start = inputBytes + SLACK_BYTES;
  const wanted = start + outputBytes + SLACK_BYTES;
  if (wanted > scratch.length) {
    memory.grow(Math.ceil((wanted - scratch.length) / PAGE_BYTES));
    scratch = new Uint8Array(memory.buffer);
  }
  scratch.set(input.subarray(inputStart, inputEnd), 0);
  const written = decode(0, inputBytes, start, start + outputBytes);
  if (written > 0) output.set(scratch.subarray(start, start + written), outputStart);
  return written;
}
