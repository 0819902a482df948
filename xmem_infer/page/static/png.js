/**
 * Lossless PNG codec for label images. A canvas cannot be used: it returns the colours of the palette instead of the
 * values, and browsers with fingerprinting protection alter its pixels. Follows the PNG specification (third edition).
 */

const SIGNATURE = [137, 80, 78, 71, 13, 10, 26, 10];
const [GREY, PALETTE] = [0, 3]; // colour types

/** A label image: `data[y * width + x]` is an object id, 0 (background) to 255. */
export class Labels {
  constructor(width, height, data = new Uint8Array(width * height)) {
    Object.assign(this, { width, height, data });
  }

  copy() {
    return new Labels(this.width, this.height, this.data.slice());
  }
}

/** Decode a grey or palette PNG of 1 to 8 bits, not interlaced. Throws an Error for anything else. */
export async function decodePng(buffer) {
  const bytes = new Uint8Array(buffer);
  const view = new DataView(buffer);
  if (SIGNATURE.some((byte, i) => bytes[i] !== byte)) throw new Error("This is not a PNG file.");
  const parts = [];
  let header = null;
  for (let at = 8; at + 12 <= bytes.length; ) {
    const length = view.getUint32(at);
    const kind = String.fromCharCode(...bytes.subarray(at + 4, at + 8));
    const start = at + 8;
    if (kind === "IHDR") header = readHeader(view, start);
    if (kind === "IDAT") parts.push(bytes.subarray(start, start + length));
    at = start + length + 4;
  }
  if (!header) throw new Error("The PNG file has no header.");
  const raw = await pipe(new DecompressionStream("deflate"), parts);
  return unfilter(raw, header);
}

function readHeader(view, at) {
  const depth = view.getUint8(at + 8);
  const type = view.getUint8(at + 9);
  if (![GREY, PALETTE].includes(type) || depth > 8 || view.getUint8(at + 12)) {
    throw new Error(`A mask has to be a grey or palette PNG of up to 8 bits; this one has colour type ${type}, ${depth} bits.`);
  }
  return { width: view.getUint32(at), height: view.getUint32(at + 4), depth };
}

/** Undo the filter of each row (at up to 8 bits per pixel, filters work on bytes), then unpack bits to pixels. */
function unfilter(raw, { width, height, depth }) {
  const stride = Math.ceil((width * depth) / 8);
  const lines = new Uint8Array(stride * height);
  for (let y = 0; y < height; y++) {
    const filter = raw[y * (stride + 1)];
    const from = y * (stride + 1) + 1;
    const to = y * stride;
    for (let x = 0; x < stride; x++) {
      const left = x ? lines[to + x - 1] : 0;
      const up = y ? lines[to + x - stride] : 0;
      let predicted = 0;
      if (filter === 1) predicted = left;
      else if (filter === 2) predicted = up;
      else if (filter === 3) predicted = (left + up) >> 1;
      else if (filter === 4) predicted = paeth(left, up, x && y ? lines[to + x - stride - 1] : 0);
      lines[to + x] = raw[from + x] + predicted;
    }
  }
  if (depth === 8) return new Labels(width, height, lines);
  const labels = new Labels(width, height);
  const perByte = 8 / depth;
  for (let y = 0, i = 0; y < height; y++) {
    for (let x = 0; x < width; x++, i++) {
      const shift = 8 - depth * ((x % perByte) + 1);
      labels.data[i] = (lines[y * stride + Math.floor(x / perByte)] >> shift) & ((1 << depth) - 1);
    }
  }
  return labels;
}

function paeth(left, up, corner) {
  const p = left + up - corner;
  const a = Math.abs(p - left);
  const b = Math.abs(p - up);
  const c = Math.abs(p - corner);
  if (a <= b && a <= c) return left;
  return b <= c ? up : corner;
}

/** Encode labels as an 8-bit grey PNG. Returns a Blob. */
export async function encodePng({ width, height, data }) {
  const raw = new Uint8Array((width + 1) * height);
  for (let y = 0; y < height; y++) raw.set(data.subarray(y * width, (y + 1) * width), y * (width + 1) + 1);
  const header = new Uint8Array(13);
  const view = new DataView(header.buffer);
  view.setUint32(0, width);
  view.setUint32(4, height);
  header.set([8, GREY, 0, 0, 0], 8);
  const pixels = await pipe(new CompressionStream("deflate"), [raw]);
  const chunks = [chunk("IHDR", header), chunk("IDAT", pixels), chunk("IEND", new Uint8Array(0))];
  return new Blob([new Uint8Array(SIGNATURE), ...chunks], { type: "image/png" });
}

function chunk(kind, content) {
  const bytes = new Uint8Array(content.length + 12);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, content.length);
  bytes.set([...kind].map((letter) => letter.charCodeAt(0)), 4);
  bytes.set(content, 8);
  view.setUint32(content.length + 8, crc(bytes.subarray(4, content.length + 8)));
  return bytes;
}

const CRC_TABLE = Uint32Array.from({ length: 256 }, (_, n) => {
  for (let k = 0; k < 8; k++) n = n & 1 ? 0xedb88320 ^ (n >>> 1) : n >>> 1;
  return n >>> 0;
});

function crc(bytes) {
  let value = 0xffffffff;
  for (const byte of bytes) value = CRC_TABLE[(value ^ byte) & 255] ^ (value >>> 8);
  return (value ^ 0xffffffff) >>> 0;
}

async function pipe(transform, parts) {
  const stream = new Blob(parts).stream().pipeThrough(transform);
  return new Uint8Array(await new Response(stream).arrayBuffer());
}
