/** The mask of the shown frame: loading, painting, suggestions, and saving to the server. */
import { Refused, request, sendJson } from "./api.js";
import { Labels, colourTable, connected, drawLabels, drawProposal, merge, paintLine } from "./labels.js";
import { mask, picture, readLabels } from "./media.js";
import { store, tell } from "./store.js";

const SAVE_AFTER_MS = 250;
export const overlay = document.createElement("canvas"); // coloured masks, in the size of the frame
export const proposed = document.createElement("canvas"); // outline of the suggestion
export const prompts = { index: -1, object: 0, box: null, clicks: [] }; // input of the suggestion that is not accepted yet
export let shown = { index: -1, picture: null, version: null };

const unsaved = new Map(); // frame index -> {labels, ids of the painted objects}
let before = null; // labels before the current stroke; null between strokes
let timer = 0;
let sending = Promise.resolve();
let loading = false;
let stale = false;
let controller = null; // AbortController of the running request for a suggestion

/** Load and show the current frame and its mask. Frames that were current only while another one loaded are skipped. */
export async function refresh(close = false) {
  stale = true;
  if (loading) return;
  loading = true;
  while (stale) {
    stale = false;
    await load(store.index, close).catch((error) => store.link === "open" && tell(`Frame ${store.index + 1}: ${error.message}`, "error"));
  }
  loading = false;
}

async function load(index, close) {
  const version = store.frame(index)?.version ?? null;
  const [image, labels] = await Promise.all([picture(index, close), unsaved.get(index)?.labels ?? mask(index)]);
  if (store.index !== index || before) return;
  if (shown.index !== index) discard();
  shown = { index, picture: image, version };
  const { width, height } = store.video;
  if (overlay.width !== width || overlay.height !== height) Object.assign(overlay, { width, height });
  store.set({ labels: unsaved.get(index)?.labels ?? labels?.copy() ?? new Labels(width, height) });
  redraw();
}

/** Whether the labels of the shown frame are loaded, so that they can be painted on. */
export const ready = () => store.labels && shown.index === store.index;

export function redraw(box) {
  if (!store.labels) return;
  const table = colourTable(store.objects, store.hidden, store.opacity);
  drawLabels(overlay.getContext("2d"), store.proposal?.merged ?? store.labels, table, box);
  store.dispatchEvent(new Event("drawn"));
}

export function beginStroke() {
  accept();
  before = store.labels.copy();
}

export function stroke(a, b, value) {
  redraw(paintLine(store.labels, a, b, store.brush, value));
}

export function cancelStroke() {
  if (!before) return;
  const labels = before;
  before = null;
  if (unsaved.has(store.index)) unsaved.get(store.index).labels = labels;
  store.set({ labels });
  redraw();
}

export function endStroke() {
  if (before) changed(before);
  before = null;
}

/** Fill the outlined area around `at` with `value`; with `value` 0, erase the connected piece of an object there. */
export function fill(at, value) {
  const pixels = connected(store.labels, Math.floor(at.x), Math.floor(at.y));
  if (!pixels) return tell("Nothing closed to fill here: draw an outline first, then fill it.");
  const old = store.labels.copy();
  for (const at of pixels) store.labels.data[at] = value;
  changed(old);
}

/** Erase the current object from this frame. */
export function clearObject() {
  discard();
  const old = store.labels.copy();
  store.labels.data.forEach((value, i) => value === store.object && (store.labels.data[i] = 0));
  changed(old);
}

/** Save the mask unchanged, which makes the frame a reference. */
export function keep() {
  discard();
  queue(new Set(store.labels.data));
  return flush();
}

/** Redraw and queue the labels for saving, if they differ from `old`. */
function changed(old) {
  const ids = new Set();
  old.data.forEach((value, i) => value !== store.labels.data[i] && ids.add(value).add(store.labels.data[i]));
  redraw();
  if (ids.size) queue(ids);
}

function queue(ids) {
  const entry = unsaved.get(store.index) ?? { ids: new Set() };
  for (const id of ids) if (id) entry.ids.add(id);
  entry.labels = store.labels;
  unsaved.set(store.index, entry);
  store.set({ dirty: true });
  clearTimeout(timer);
  timer = setTimeout(flush, SAVE_AFTER_MS);
}

/** Save all unsaved masks; resolves when done. Without a connection they are kept for the next call. */
export function flush() {
  clearTimeout(timer);
  sending = sending.then(sendAll);
  return sending;
}

async function sendAll() {
  for (const [index, entry] of [...unsaved]) {
    const { labels, ids } = entry;
    entry.ids = new Set();
    try {
      const compressed = new Blob([labels.data]).stream().pipeThrough(new CompressionStream("deflate"));
      const body = await new Response(compressed).blob();
      const answer = await request(`api/mask/${index}?object=${[...ids]}`, { method: "PUT", body });
      const { version } = await answer.json();
      if (shown.index === index) shown.version = version;
      if (!entry.ids.size) unsaved.delete(index);
    } catch (error) {
      if (error instanceof Refused) {
        unsaved.delete(index);
        tell(`The mask was not saved: ${error.message}`, "error");
        refresh();
      } else {
        for (const id of ids) entry.ids.add(id);
        break;
      }
    }
  }
  store.set({ dirty: unsaved.size > 0 });
}

/** Request a suggestion from a box, or from one more click `[x, y, 1 (add) or -1 (remove)]`. Nothing is saved. */
export async function suggest(object, { box, click }) {
  await flush();
  if (prompts.index !== store.index || prompts.object !== object || box) {
    accept();
    Object.assign(prompts, { index: store.index, object, box: null, clicks: [] });
  }
  if (box) prompts.box = box;
  if (click) prompts.clicks.push(click);
  await ask();
}

/** Undo the last click, or the box. */
export function takeBack() {
  if (prompts.clicks.length) prompts.clicks.pop();
  else prompts.box = null;
  return prompts.clicks.length || prompts.box ? ask() : discard();
}

async function ask() {
  controller?.abort();
  const current = (controller = new AbortController());
  const { index, object, box, clicks } = prompts;
  store.set({ thinking: true });
  try {
    const body = { object_id: object, box, clicks, base: !box };
    const labels = await readLabels(await sendJson(`api/suggest/${index}`, body, { signal: current.signal }));
    if (current.signal.aborted || shown.index !== index) return;
    const clicked = clicks.filter((click) => click[2] > 0).map(([x, y]) => store.labels.data[y * labels.width + x]);
    const merged = merge(store.labels, labels, object, new Set(clicked));
    Object.assign(proposed, { width: labels.width, height: labels.height });
    drawProposal(proposed.getContext("2d"), labels);
    store.set({ proposal: { merged, object } });
  } catch (error) {
    if (error.name !== "AbortError") tell(`No suggestion: ${error.message}`, "error");
  } finally {
    if (controller === current) store.set({ thinking: false });
  }
  redraw();
}

export function accept() {
  const { proposal } = store;
  if (!proposal) return false;
  const old = store.labels;
  discard();
  store.set({ labels: proposal.merged });
  changed(old);
  return true;
}

export function discard() {
  controller?.abort();
  Object.assign(prompts, { index: -1, box: null, clicks: [] });
  const had = store.proposal || store.thinking;
  store.set({ proposal: null, thinking: false });
  if (had) redraw();
  return Boolean(had);
}
