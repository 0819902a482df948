/** Frames and masks from the server, in two LRU caches that hold a limited number of pixels. */
import { request } from "./api.js";
import { Labels } from "./labels.js";
import { store } from "./store.js";

const LARGEST = 1920; // px, width of a frame unless the user has zoomed in
const CACHE_PIXELS = 60e6; // per cache; 240 MB of frames

class LruCache {
  constructor(load) {
    Object.assign(this, { load, entries: new Map(), pixels: 0 });
  }

  /** Return a promise of what is at `path`, loading it if it is not cached. */
  get(path) {
    let entry = this.entries.get(path);
    this.entries.delete(path);
    if (!entry) {
      entry = { promise: this.load(path), pixels: 0 };
      entry.promise.then((value) => this.count(entry, value), () => this.entries.delete(path));
    }
    this.entries.set(path, entry);
    return entry.promise;
  }

  /** Count the pixels of a loaded entry and evict the least recently used entries. */
  count(entry, { width, height }) {
    entry.pixels = width * height;
    this.pixels += entry.pixels;
    for (const [path, old] of this.entries) {
      if (this.pixels <= CACHE_PIXELS || old === entry) break;
      this.entries.delete(path);
      this.pixels -= old.pixels;
      old.promise.then((value) => value.close?.(), () => {});
    }
  }
}

const pictures = new LruCache(async (path) => createImageBitmap(await (await request(path)).blob()));
const masks = new LruCache(async (path) => readLabels(await request(path)));

/** Return the labels in a response: one byte for each pixel of the frame, decompressed by the browser. */
export async function readLabels(response) {
  const { width, height } = store.video;
  return new Labels(width, height, new Uint8Array(await response.arrayBuffer()));
}

/** Return a frame. `close`: in full resolution, because the user has zoomed in. */
export function picture(index, close = false) {
  const width = close ? store.video.width : Math.min(store.video.width, LARGEST);
  return pictures.get(`api/frame/${index}.jpg?w=${width}`);
}

/** Return the saved labels of a frame, or null. They are cached: copy them before painting. */
export async function mask(index) {
  const known = store.frame(index);
  if (!known) return null;
  return masks.get(`api/mask/${index}?v=${known.version}`).catch((error) => {
    if (error.status === 404) return null; // removed meanwhile; the event that reports it will arrive soon
    throw error;
  });
}

export const thumb = (index) => `api/frame/${index}.jpg?w=160`;
