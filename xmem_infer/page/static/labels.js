/** Label images: painting on them and drawing them. All positions are in pixels of the frame. */

/** `data[y * width + x]` is an object id, 0 (background) to 255. */
export class Labels {
  constructor(width, height, data = new Uint8Array(width * height)) {
    Object.assign(this, { width, height, data });
  }

  copy() {
    return new Labels(this.width, this.height, this.data.slice());
  }
}

/** Paint a thick line from `a` to `b` (`{x, y}`) with `value`. Returns the changed rectangle `[x0, y0, x1, y1)`. */
export function paintLine(labels, a, b, radius, value) {
  const r = Math.max(radius, 0.5);
  const box = clip(labels, [
    Math.floor(Math.min(a.x, b.x) - r), Math.floor(Math.min(a.y, b.y) - r),
    Math.ceil(Math.max(a.x, b.x) + r) + 1, Math.ceil(Math.max(a.y, b.y) + r) + 1,
  ]);
  const dx = b.x - a.x;
  const dy = b.y - a.y;
  const square = dx * dx + dy * dy || 1;
  for (let y = box[1]; y < box[3]; y++) {
    for (let x = box[0]; x < box[2]; x++) {
      const px = x + 0.5 - a.x;
      const py = y + 0.5 - a.y;
      const along = Math.min(1, Math.max(0, (px * dx + py * dy) / square));
      const ex = px - along * dx;
      const ey = py - along * dy;
      if (ex * ex + ey * ey <= r * r) labels.data[y * labels.width + x] = value;
    }
  }
  return box;
}

export function clip({ width, height }, [x0, y0, x1, y1]) {
  return [Math.max(0, x0), Math.max(0, y0), Math.min(width, x1), Math.min(height, y1)];
}

/**
 * Return the indices of the pixels that are connected to (x, y) and have its value; null for open background, that is
 * background which reaches three or more sides of the frame.
 */
export function connected({ width, height, data }, x, y) {
  const from = data[y * width + x];
  const seen = new Uint8Array(data.length);
  const pixels = [y * width + x];
  seen[pixels[0]] = 1;
  const sides = new Set();
  for (let n = 0; n < pixels.length; n++) {
    const at = pixels[n];
    const cx = at % width;
    const cy = (at - cx) / width;
    if (!cx) sides.add("left");
    if (!cy) sides.add("top");
    if (cx === width - 1) sides.add("right");
    if (cy === height - 1) sides.add("bottom");
    for (const [inside, next] of [[cx > 0, at - 1], [cx < width - 1, at + 1], [cy > 0, at - width], [cy < height - 1, at + width]]) {
      if (inside && !seen[next] && data[next] === from) {
        seen[next] = 1;
        pixels.push(next);
      }
    }
  }
  return from === 0 && sides.size >= 3 ? null : pixels;
}

/**
 * Return a copy of `labels` with the mask of `object` replaced by `proposal` (non-zero: object). Pixels of other objects
 * are overwritten only if their ids are in `taken`.
 */
export function merge(labels, proposal, object, taken) {
  const result = labels.copy();
  for (let i = 0; i < result.data.length; i++) {
    const now = result.data[i];
    if (proposal.data[i]) {
      if (now === 0 || taken.has(now)) result.data[i] = object;
    } else if (now === object) result.data[i] = 0;
  }
  return result;
}

/** Return 512 RGBA colours as 32-bit values in memory order: 256 fill colours by value, then 256 outline colours. */
export function colourTable(objects, hidden, opacity) {
  const bytes = new Uint8ClampedArray(512 * 4);
  for (let id = 1; id < 256; id++) {
    if (hidden.has(id)) continue;
    const rgb = rgbOf(objects.find((one) => one.id === id)?.colour ?? "#9aa0a6");
    bytes.set([...rgb, Math.round(255 * opacity)], id * 4);
    bytes.set([...rgb, 255], (256 + id) * 4);
  }
  return new Uint32Array(bytes.buffer);
}

export function rgbOf(hex) {
  const value = parseInt(hex.slice(1), 16);
  return [value >> 16, (value >> 8) & 255, value & 255];
}

/** Draw a rectangle of the labels on a canvas in the size of the frame: filled, with an outline inside each object. */
export function drawLabels(context, labels, table, box = [0, 0, labels.width, labels.height]) {
  const { width, height, data } = labels;
  const thick = Math.max(1, Math.round(Math.max(width, height) / 700));
  const [x0, y0, x1, y1] = clip(labels, [box[0] - thick, box[1] - thick, box[2] + thick, box[3] + thick]);
  if (x1 <= x0 || y1 <= y0) return;
  const image = new ImageData(x1 - x0, y1 - y0);
  const out = new Uint32Array(image.data.buffer);
  for (let y = y0, i = 0; y < y1; y++) {
    const row = y * width;
    const up = Math.max(0, y - thick) * width;
    const down = Math.min(height - 1, y + thick) * width;
    for (let x = x0; x < x1; x++, i++) {
      const value = data[row + x];
      if (!value) continue;
      const inside = data[row + Math.max(0, x - thick)] === value && data[row + Math.min(width - 1, x + thick)] === value
        && data[up + x] === value && data[down + x] === value;
      out[i] = table[inside ? value : 256 + value];
    }
  }
  context.putImageData(image, x0, y0);
}

/** Draw the outline of a proposal, dashed in white and black to show that it is not saved yet. */
export function drawProposal(context, { width, height, data }) {
  const image = new ImageData(width, height);
  const out = new Uint32Array(image.data.buffer);
  const thick = Math.max(1, Math.round(Math.max(width, height) / 700));
  const dash = thick * 4;
  for (let y = 0, i = 0; y < height; y++) {
    for (let x = 0; x < width; x++, i++) {
      if (!data[i]) continue;
      const edge = x < thick || y < thick || x >= width - thick || y >= height - thick
        || !data[i - thick] || !data[i + thick] || !data[i - thick * width] || !data[i + thick * width];
      if (edge) out[i] = (x + y) % (2 * dash) < dash ? 0xffffffff : 0xff202020;
    }
  }
  context.putImageData(image, 0, 0);
}
