/** The mask of the frame shown: loaded, painted on, suggested for, and saved on the server. */
import { Refused, request, sendJson } from "./api.js";
import { areas, colourTable, connected, drawLabels, drawProposal, merge, paintLine, setPixels } from "./labels.js";
import { mask, picture } from "./media.js";
import { Labels, decodePng, encodePng } from "./png.js";
import { store, tell } from "./store.js";

const SAVE_AFTER_MS = 250;
export const overlay = document.createElement("canvas"); // the labels in colours, of the frame's size
export const proposed = document.createElement("canvas"); // the outline of a suggestion
export const prompts = { index: -1, object: 0, box: null, clicks: [] }; // of the suggestion not accepted yet
export let shown = { index: -1, picture: null, version: null };

const unsaved = new Map(); // frame -> {labels, ids}
let before = null; // labels before the stroke that is being painted
let timer = 0;
let sending = Promise.resolve();
let loading = false;
let stale = false;
let asked = null; // AbortController of the suggestion on its way

/** Bring the frame and its mask to the screen; frames that were passed meanwhile are left out. */
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
  store.set({ labels: unsaved.get(index)?.labels ?? labels?.copy() ?? new Labels(width, height) });
  redraw();
}

/** Labels can be painted on: they are those of the frame that the user sees. */
export const ready = () => store.labels && shown.index === store.index;

export function redraw(box) {
  if (!store.labels) return;
  if (overlay.width !== store.labels.width || overlay.height !== store.labels.height) {
    overlay.width = store.labels.width;
    overlay.height = store.labels.height;
  }
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

/** Fill the outlined area at `at`, or with `value` 0 take away the piece of an object there. */
export function fill(at, value) {
  const pixels = connected(store.labels, Math.floor(at.x), Math.floor(at.y));
  if (!pixels) return tell("Nothing closed to fill here: draw an outline first, then fill it.");
  const old = store.labels.copy();
  setPixels(store.labels, pixels, value);
  changed(old);
}

/** Take the object off this frame. */
export function clearObject() {
  discard();
  const old = store.labels.copy();
  store.labels.data.forEach((value, i) => value === store.object && (store.labels.data[i] = 0));
  changed(old);
}

/** Store the mask as it is: the frame becomes a reference. */
export function keep() {
  discard();
  queue([...areas(store.labels).keys()]);
  return flush();
}

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

/** Send what was painted; resolves when the server has it. Without a connection it stays here for the next try. */
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
      const body = await encodePng(labels);
      const answer = await request(`api/mask/${index}?object=${[...ids]}`, { method: "PUT", body, headers: { "Content-Type": "image/png" } });
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

/** Ask for the object's mask from a box, and from clicks that add or remove: `[x, y, 1 or -1]`. Nothing is stored. */
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

/** Take back the last click, or the box. */
export function takeBack() {
  if (prompts.clicks.length) prompts.clicks.pop();
  else prompts.box = null;
  return prompts.clicks.length || prompts.box ? ask() : discard();
}

async function ask() {
  asked?.abort();
  const control = (asked = new AbortController());
  const { index, object, box, clicks } = prompts;
  store.set({ thinking: true });
  try {
    const answer = await sendJson(`api/suggest/${index}`, { object, box, clicks, base: !box }, { signal: control.signal });
    const labels = await decodePng(await answer.arrayBuffer());
    if (control.signal.aborted || shown.index !== index) return;
    const clicked = clicks.filter((click) => click[2] > 0).map(([x, y]) => store.labels.data[y * labels.width + x]);
    const merged = merge(store.labels, labels, object, new Set(clicked));
    Object.assign(proposed, { width: labels.width, height: labels.height });
    drawProposal(proposed.getContext("2d"), labels);
    store.set({ proposal: { merged, object } });
  } catch (error) {
    if (error.name !== "AbortError") tell(`No suggestion: ${error.message}`, "error");
  } finally {
    if (asked === control) store.set({ thinking: false });
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
  asked?.abort();
  Object.assign(prompts, { index: -1, box: null, clicks: [] });
  const had = store.proposal || store.thinking;
  store.set({ proposal: null, thinking: false });
  if (had) redraw();
  return Boolean(had);
}
