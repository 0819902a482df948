/** Frames and masks from the server, the last ones kept; never more than a fixed number of pixels. */
import { request } from "./api.js";
import { decodePng } from "./png.js";
import { store } from "./store.js";

const LARGEST = 1920; // pixels across, of a frame that is not looked at closely
const KEPT_PIXELS = 60e6; // 240 MB as pictures

class Kept {
  constructor(load) {
    Object.assign(this, { load, entries: new Map(), pixels: 0 });
  }

  /** The value of `key` as a promise; what was asked for longest ago makes room. */
  get(key, ...args) {
    let entry = this.entries.get(key);
    this.entries.delete(key);
    if (!entry) {
      entry = { promise: this.load(...args), pixels: 0 };
      entry.promise.then((value) => this.count(entry, value), () => this.entries.delete(key));
    }
    this.entries.set(key, entry);
    return entry.promise;
  }

  count(entry, { width, height }) {
    entry.pixels = width * height;
    this.pixels += entry.pixels;
    for (const [key, old] of this.entries) {
      if (this.pixels <= KEPT_PIXELS || old === entry) break;
      this.entries.delete(key);
      this.pixels -= old.pixels;
      old.promise.then((value) => value.close?.(), () => {});
    }
  }
}

const pictures = new Kept(async (path) => createImageBitmap(await (await request(path)).blob()));
const masks = new Kept(async (path) => decodePng(await (await request(path)).arrayBuffer()));

/** `close`: zoomed in, so that all pixels of a large frame are wanted. */
export function picture(index, close = false) {
  const width = close ? store.video.width : Math.min(store.video.width, LARGEST);
  const path = `api/frame/${index}.jpg?w=${width}`;
  return pictures.get(path, path);
}

/** Labels of the mask that the server has of a frame, or null. The caller copies before it paints. */
export async function mask(index) {
  const known = store.frame(index);
  if (!known) return null;
  const path = `api/mask/${index}.png?v=${known.version}`;
  return masks.get(path, path).catch((error) => {
    if (error.status === 404) return null; // taken away meanwhile; the event that says so is on its way
    throw error;
  });
}

export const thumb = (index) => `api/frame/${index}.jpg?w=160`;
