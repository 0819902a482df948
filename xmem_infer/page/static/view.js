/** Draws frame, masks, suggestion and cursor on the canvas, with zoom and pan. */
import { overlay, prompts, proposed, refresh, shown } from "./editor.js";
import { byId, oncePerRepaint, store } from "./store.js";

const MARGIN = 14; // px of margin around a fitted frame
const MAX_SCALE = 32; // screen pixels per pixel of the frame
const canvas = byId("canvas");
const context = canvas.getContext("2d");
const place = { scale: 1, x: 0, y: 0, fitted: true };

export const cursor = { at: null, box: null, radius: 0, colour: "#fff" }; // set by tools.js, in pixels of the frame

/** Position of a pointer event in pixels of the frame. */
export function toFrame({ clientX, clientY }) {
  const box = canvas.getBoundingClientRect();
  return { x: (clientX - box.left - place.x) / place.scale, y: (clientY - box.top - place.y) / place.scale };
}

export function fit() {
  if (!store.video) return;
  const { width, height } = store.video;
  place.scale = Math.min((canvas.clientWidth - 2 * MARGIN) / width, (canvas.clientHeight - 2 * MARGIN) / height);
  place.x = (canvas.clientWidth - width * place.scale) / 2;
  place.y = (canvas.clientHeight - height * place.scale) / 2;
  place.fitted = true;
  moved();
}

/** Zoom by `factor` around a point of the canvas, by default its centre. */
export function zoom(factor, x = canvas.clientWidth / 2, y = canvas.clientHeight / 2) {
  const scale = Math.min(MAX_SCALE, Math.max(0.05, place.scale * factor));
  place.x = x - ((x - place.x) * scale) / place.scale;
  place.y = y - ((y - place.y) * scale) / place.scale;
  Object.assign(place, { scale, fitted: false });
  moved();
}

export function pan(dx, dy) {
  Object.assign(place, { x: place.x + dx, y: place.y + dy, fitted: false });
  moved();
}

/** Whether the frame is zoomed in so much that its full resolution is needed. */
const isClose = () => place.scale * devicePixelRatio * store.video.width > 2400;

function moved() {
  byId("zoom-level").textContent = `${Math.round(place.scale * 100)} %`;
  if (shown.picture && isClose() && shown.picture.width < store.video.width) refresh(true);
  draw();
}

export const draw = oncePerRepaint(paint);

function paint() {
  const ratio = devicePixelRatio;
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  context.clearRect(0, 0, canvas.clientWidth, canvas.clientHeight);
  if (!store.video || !shown.picture) return;
  const { width, height } = store.video;
  context.translate(place.x, place.y);
  context.scale(place.scale, place.scale);
  context.imageSmoothingEnabled = place.scale * ratio < 3;
  context.imageSmoothingQuality = "high";
  context.drawImage(shown.picture, 0, 0, width, height);
  if (store.masksShown && store.labels) context.drawImage(overlay, 0, 0);
  if (store.proposal) context.drawImage(proposed, 0, 0);
  paintPrompts();
  paintCursor();
}

function paintPrompts() {
  if (prompts.index !== shown.index) return;
  const r = 6 / place.scale;
  if (prompts.box && !store.proposal) rectangle(prompts.box);
  for (const [x, y, sign] of prompts.clicks) {
    context.beginPath();
    context.arc(x + 0.5, y + 0.5, r, 0, 7);
    context.fillStyle = sign > 0 ? "#1fa463" : "#d93a3a";
    context.fill();
    context.lineWidth = 1.5 / place.scale;
    context.strokeStyle = "#fff";
    context.moveTo(x + 0.5 - r / 2, y + 0.5);
    context.lineTo(x + 0.5 + r / 2, y + 0.5);
    if (sign > 0) {
      context.moveTo(x + 0.5, y + 0.5 - r / 2);
      context.lineTo(x + 0.5, y + 0.5 + r / 2);
    }
    context.stroke();
  }
}

function paintCursor() {
  if (cursor.box) rectangle(cursor.box);
  if (!cursor.at || !cursor.radius) return;
  for (const [width, colour] of [[3, "rgba(0,0,0,.6)"], [1.5, cursor.colour]]) {
    context.beginPath();
    context.arc(cursor.at.x, cursor.at.y, cursor.radius, 0, 7);
    context.lineWidth = width / place.scale;
    context.strokeStyle = colour;
    context.stroke();
  }
}

function rectangle([x0, y0, x1, y1]) {
  context.lineWidth = 1.5 / place.scale;
  for (const [colour, offset] of [["#000", 0], ["#fff", 5 / place.scale]]) {
    context.setLineDash([5 / place.scale, 5 / place.scale]);
    context.lineDashOffset = offset;
    context.strokeStyle = colour;
    context.strokeRect(x0, y0, x1 - x0, y1 - y0);
  }
  context.setLineDash([]);
}

export function startView() {
  new ResizeObserver(() => {
    canvas.width = Math.round(canvas.clientWidth * devicePixelRatio);
    canvas.height = Math.round(canvas.clientHeight * devicePixelRatio);
    if (place.fitted) fit();
    else draw();
  }).observe(canvas);
  store.on("drawn masksShown proposal thinking", draw);
  store.addEventListener("index", () => refresh(store.video && isClose()));
  byId("zoom-in").onclick = () => zoom(1.25);
  byId("zoom-out").onclick = () => zoom(0.8);
  byId("zoom-fit").onclick = fit;
}
