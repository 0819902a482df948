/** Actions of the user, by button or key. An action that changes something is sent after all earlier strokes are saved. */
import { live } from "./api.js";
import { accept, discard, flush, keep, prompts, takeBack } from "./editor.js";
import { store, tell } from "./store.js";

export const COLOURS = ["#ff4d6d", "#3d8bff", "#ffb020", "#1fbf75", "#b266ff", "#18c5d9", "#ff7a3d", "#e64fd0", "#9bc53d"];
const GOTO_EVERY_MS = 150;
let gotoTimer = 0;

/** Accept the suggestion, save all strokes, then send an action and return its result; undefined if it fails. */
export async function act(action) {
  accept();
  await flush();
  return live.send(action).catch((error) => tell(error.message, "error"));
}

/** Return the id of the object to paint. If there is no object yet, add one and wait for the answer of the server. */
export const ensureObject = async () => store.object || addObject();

/** Paint another object from now on, after the suggestion for the current one has been accepted. */
export function chooseObject(id) {
  if (!id || id === store.object) return;
  accept();
  store.set({ object: id });
}

export async function addObject() {
  const colour = COLOURS.find((one) => !store.objects.some((object) => object.colour === one)) ?? COLOURS[store.objects.length % COLOURS.length];
  const object = await act({ do: "add_object", name: `Object ${store.objects.length + 1}`, colour });
  if (object) store.set({ object });
  return object ?? 0;
}

/** Show a frame. `byUser` false: because of tracking or another tab; then the other tabs are not notified. */
export function go(index, byUser = true) {
  if (!store.video) return;
  const next = Math.min(store.video.frames - 1, Math.max(0, Math.round(index)));
  if (next === store.index) return;
  accept();
  if (byUser) {
    store.set({ following: false });
    clearTimeout(gotoTimer);
    gotoTimer = setTimeout(() => live.send({ do: "goto", index: store.index }).catch(() => {}), GOTO_EVERY_MS);
  }
  store.set({ index: next });
}

/** The nearest references before and after a frame. */
const referencesBeside = (index) => [
  store.state.references.filter((one) => one < index).at(-1),
  store.state.references.find((one) => one > index),
];

export function jumpReference(direction) {
  const [before, after] = referencesBeside(store.index);
  const to = direction < 0 ? before : after;
  if (to === undefined) tell(direction < 0 ? "No reference before this frame." : "No reference after this frame.");
  else go(to);
}

/** Track from this frame up to the nearest references on both sides, or to the ends of the video; stop if running. */
export async function track(direction = "both") {
  if (store.running) return stop();
  accept();
  await flush();
  if (!store.state.references.length && !store.frame()) return tell("Mark an object in this frame first.");
  const [before, after] = referencesBeside(store.index);
  const first = direction === "forward" ? store.index : before ?? 0;
  const last = direction === "backward" ? store.index : after ?? store.video.frames - 1;
  store.set({ following: true, playing: false, startedAt: store.index });
  await act({ do: "propagate", direction, first, last });
}

export const stop = () => act({ do: "stop" });

export async function fixNext() {
  const found = await act({ do: "next_to_fix" });
  if (!found) return;
  go(found.index);
  tell(`Frame ${found.index + 1}: ${found.reason}`);
}

export function undo() {
  if (prompts.clicks.length || prompts.box) return takeBack();
  return act({ do: "undo" });
}

export const redo = () => act({ do: "redo" });

export function toggleReference() {
  if (store.isReference()) return act({ do: "remove_reference", index: store.index });
  if (!store.frame() && !store.proposal) return tell("There is no mask in this frame yet.");
  accept();
  return keep();
}

/** Mark the first frame of an absence; when called again, mark its last frame. Within an absence, remove it. */
export function markAbsent(object = store.object) {
  if (!object) return tell("Choose an object first.");
  const range = store.absence(object);
  if (store.absentFrom !== null) {
    const [first, last] = [store.absentFrom, store.index].sort((a, b) => a - b);
    store.set({ absentFrom: null });
    return act({ do: "set_absent", object_id: object, first, last, absent: true });
  }
  if (range) return act({ do: "set_absent", object_id: object, first: range[0], last: range[1], absent: false });
  store.set({ object, absentFrom: store.index });
}

export function escape() {
  if (store.absentFrom !== null) store.set({ absentFrom: null });
  else if (!discard() && store.running) stop();
}

export function toggleVisible(id) {
  const hidden = new Set(store.hidden);
  if (!hidden.delete(id)) hidden.add(id);
  store.set({ hidden });
}
