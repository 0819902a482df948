/** Mouse, pen and touch input on the canvas. One finger or the left button uses the tool; two fingers zoom and pan. */
import { ensureObject } from "./actions.js";
import { accept, beginStroke, cancelStroke, endStroke, fill, ready, stroke, suggest } from "./editor.js";
import { byId, store, tell } from "./store.js";
import { cursor, draw, pan, toFrame, zoom } from "./view.js";

const canvas = byId("canvas");
const DRAG_PX = 5; // shorter drags count as clicks
const pointers = new Map(); // pointer id -> {x, y} on the screen
let gesture = null; // {kind: "paint" | "smart" | "pan", ...}
let penSeen = false; // once a pen has been used, fingers only move the view
export const held = { space: false, panned: false };

function down(event) {
  canvas.setPointerCapture(event.pointerId);
  pointers.set(event.pointerId, { x: event.clientX, y: event.clientY });
  penSeen ||= event.pointerType === "pen";
  if (pointers.size === 2) return pinchStarts();
  if (pointers.size > 2) return;
  event.preventDefault();
  const finger = event.pointerType === "touch" && penSeen;
  if (held.space || event.button === 1 || store.tool === "pan" || finger) {
    gesture = { kind: "pan" };
    return;
  }
  if (!ready()) return tell("This frame is not loaded yet.");
  store.set({ following: false, playing: false }); // stay on this frame while the user edits it
  if (store.tool === "smart") gesture = { kind: "smart", from: toFrame(event), x: event.clientX, y: event.clientY, remove: removing(event) };
  else if (store.tool === "fill") useFill(toFrame(event), removing(event));
  else useBrush(toFrame(event), store.tool === "eraser" || removing(event));
}

const isInside = ({ x, y }) => x >= 0 && y >= 0 && x < store.video.width && y < store.video.height;
const removing = (event) => event.altKey || event.button === 2 || event.button === 5;

/** Paint. Points are queued in the gesture until the object is known, because the first stroke has to create it. */
async function useBrush(at, erase) {
  const painting = (gesture = { kind: "paint", points: [at], value: null, erase });
  const object = await ensureObject();
  if (gesture !== painting && !painting.ended) return;
  if (!object || !ready()) return (gesture = null);
  beginStroke();
  painting.value = erase ? 0 : object;
  painting.last = at;
  paintPoints(painting);
  if (painting.ended) endStroke();
}

function paintPoints(painting) {
  for (const point of painting.points.splice(0)) {
    stroke(painting.last, point, painting.value);
    painting.last = point;
  }
}

async function useFill(at, remove) {
  const object = await ensureObject();
  if (!object || !isInside(at) || !ready()) return;
  accept();
  fill(at, remove ? 0 : object);
}

function move(event) {
  const at = toFrame(event);
  cursor.at = event.pointerType === "touch" ? null : at;
  const brush = store.tool === "brush" || store.tool === "eraser";
  cursor.radius = brush && !held.space ? store.brush : 0;
  cursor.colour = store.tool === "eraser" || event.altKey ? "#fff" : store.objects.find((one) => one.id === store.object)?.colour ?? "#fff";
  const old = pointers.get(event.pointerId);
  if (old) {
    pointers.set(event.pointerId, { x: event.clientX, y: event.clientY });
    if (gesture?.kind === "pinch") pinch();
    else if (gesture?.kind === "pan") {
      held.panned = true;
      pan(event.clientX - old.x, event.clientY - old.y);
    } else if (gesture?.kind === "paint") {
      for (const each of event.getCoalescedEvents?.() ?? [event]) gesture.points.push(toFrame(each));
      if (gesture.value !== null) paintPoints(gesture);
    } else if (gesture?.kind === "smart" && Math.hypot(event.clientX - gesture.x, event.clientY - gesture.y) > DRAG_PX) {
      cursor.box = boxOf(gesture.from, at);
    }
  }
  draw();
}

function boxOf(a, b) {
  const { width, height } = store.video;
  const x = [a.x, b.x].map((value) => Math.round(Math.min(width, Math.max(0, value)))).sort((p, q) => p - q);
  const y = [a.y, b.y].map((value) => Math.round(Math.min(height, Math.max(0, value)))).sort((p, q) => p - q);
  return [x[0], y[0], x[1], y[1]];
}

function up(event) {
  pointers.delete(event.pointerId);
  const done = gesture;
  if (pointers.size) return;
  gesture = null;
  if (done?.kind === "paint") {
    done.ended = true;
    if (done.value !== null) endStroke();
  }
  if (done?.kind === "smart") useSmart(done);
  cursor.box = null;
  draw();
}

async function useSmart({ from, remove }) {
  const { box } = cursor;
  const click = [Math.floor(from.x), Math.floor(from.y), remove ? -1 : store.sign];
  const object = await ensureObject();
  if (!object) return;
  if (box && box[2] - box[0] > 2 && box[3] - box[1] > 2) await suggest(object, { box });
  else if (!box && isInside(from)) await suggest(object, { click });
}

function pinchStarts() {
  cancelStroke();
  cursor.box = null;
  gesture = { kind: "pinch", ...middle() };
}

function middle() {
  const [a, b] = [...pointers.values()];
  const box = canvas.getBoundingClientRect();
  return { x: (a.x + b.x) / 2 - box.left, y: (a.y + b.y) / 2 - box.top, spread: Math.hypot(a.x - b.x, a.y - b.y) || 1 };
}

function pinch() {
  const now = middle();
  zoom(now.spread / gesture.spread, now.x, now.y);
  pan(now.x - gesture.x, now.y - gesture.y);
  Object.assign(gesture, now);
}

function wheel(event) {
  event.preventDefault();
  if (event.shiftKey) return pan(-event.deltaX - event.deltaY, 0);
  zoom(Math.exp(-Math.max(-60, Math.min(60, event.deltaY)) / (event.ctrlKey ? 60 : 240)), event.offsetX, event.offsetY);
}

export function chooseTool(tool) {
  if (tool !== "smart" && accept()) tell("The suggestion was accepted.");
  store.set({ tool });
}

export function startTools() {
  canvas.onpointerdown = down;
  canvas.onpointermove = move;
  canvas.onpointerup = up;
  canvas.onpointercancel = (event) => {
    cancelStroke();
    gesture = null;
    up(event);
  };
  canvas.onpointerleave = () => {
    cursor.at = null;
    draw();
  };
  canvas.oncontextmenu = (event) => event.preventDefault();
  canvas.addEventListener("wheel", wheel, { passive: false });
  const buttons = [...document.querySelectorAll("[data-tool]")];
  for (const button of buttons) button.onclick = () => chooseTool(button.dataset.tool);
  const show = () => {
    for (const button of buttons) button.setAttribute("aria-pressed", button.dataset.tool === store.tool);
    document.body.dataset.tool = store.tool;
  };
  store.on("tool", show);
  show();
}
