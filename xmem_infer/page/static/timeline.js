/** Timeline with a lane for each object: bars for the confidence of its masks, marks for references and absences. */
import { chooseObject, go } from "./actions.js";
import { thumb } from "./media.js";
import { byId, make, oncePerRepaint, store } from "./store.js";

const coarse = matchMedia("(pointer: coarse)");
const lane = () => (coarse.matches ? 36 : 24); // px including the gap, as in app.css; larger for touch screens
const BAR = 16; // px
const SURE = 0.95; // confidence shown in green
const DOUBTFUL = 0.87; // in amber; equals UNSURE_BELOW in engine/drift.py
const BAD = 0.65; // in red
const DIAMOND = new Path2D("M 0 -6 L 6 0 L 0 6 L -6 0 Z"); // mark of a reference
const canvas = byId("lanes");
const context = canvas.getContext("2d");
let shownStrip = ""; // parameters of the thumbnails that are shown

const mix = (a, b, t) => a.map((value, i) => Math.round(value + (b[i] - value) * t));

/** Return the colour of a confidence, interpolated between red, amber and green of the theme. */
export function sureness(confidence, theme = themeColours()) {
  if (confidence >= SURE) return `rgb(${theme.sure})`;
  if (confidence >= DOUBTFUL) return `rgb(${mix(theme.doubtful, theme.sure, (confidence - DOUBTFUL) / (SURE - DOUBTFUL))})`;
  return `rgb(${mix(theme.bad, theme.doubtful, Math.max(0, confidence - BAD) / (DOUBTFUL - BAD))})`;
}

function themeColours() {
  const style = getComputedStyle(document.documentElement);
  const read = (name) => style.getPropertyValue(name).trim().split(/[ ,]+/).map(Number);
  return { sure: read("--sure"), doubtful: read("--doubtful"), bad: read("--bad"), lane: read("--lane"), ink: read("--ink") };
}

const draw = oncePerRepaint(paint);

function paint() {
  if (!store.video) return;
  const ratio = devicePixelRatio;
  const width = canvas.clientWidth;
  const rows = Math.max(1, store.objects.length);
  canvas.style.height = `${rows * lane()}px`;
  canvas.width = Math.round(width * ratio);
  canvas.height = Math.round(rows * lane() * ratio);
  context.scale(ratio, ratio);
  const theme = themeColours();
  const columns = gather(width);
  for (let row = 0; row < rows; row++) paintLane(store.objects[row], row * lane() + (lane() - BAR) / 2, columns, width, theme);
}

/** Distribute the frames over columns `[x, width, first, last]`, at most one column per frame and per pixel. */
function gather(width) {
  const { frames } = store.video;
  const count = Math.min(frames, Math.max(1, Math.floor(width)));
  return Array.from({ length: count }, (_, n) => {
    const first = Math.floor((n * frames) / count);
    const last = Math.max(first, Math.floor(((n + 1) * frames) / count) - 1);
    const [left, right] = [n, n + 1].map((edge) => Math.round((edge * width) / count)); // whole pixels, to avoid seams
    return [left, right - left, first, last];
  });
}

function paintLane(object, top, columns, width, theme) {
  context.fillStyle = `rgba(${theme.lane},.55)`;
  context.beginPath();
  context.roundRect(0, top, width, BAR, 4);
  context.fill();
  if (!object) return;
  for (const [x, wide, first, last] of columns) {
    const worst = worstOf(object.id, first, last);
    if (!worst) continue;
    const height = worst.lost ? BAR : Math.max(4, BAR * Math.min(1, Math.max(0, (worst.confidence - 0.5) / 0.48)));
    context.fillStyle = worst.lost ? `rgba(${theme.bad},.35)` : sureness(worst.confidence, theme);
    context.fillRect(x, top + BAR - height, wide, height);
  }
  for (const [first, last] of store.state.absent[object.id] ?? []) paintAbsent(first, last, top, width, theme);
  if (store.absentFrom !== null && object.id === store.object) {
    paintAbsent(Math.min(store.absentFrom, store.index), Math.max(store.absentFrom, store.index), top, width, theme);
  }
  for (const index of store.state.references) paintReference(Math.min(width - 7, Math.max(7, ((index + 0.5) * width) / store.video.frames)), top, object, theme);
}

function worstOf(id, first, last) {
  let worst = null;
  for (let index = first; index <= last; index++) {
    const frame = store.frame(index);
    const confidence = frame && (store.isReference(index) ? 1 : frame.confidence[id]);
    if (confidence === undefined) continue;
    const lost = frame.lost.includes(id);
    if (!worst || (lost && !worst.lost) || (lost === worst.lost && confidence < worst.confidence)) worst = { confidence, lost };
  }
  return worst;
}

function paintAbsent(first, last, top, width, theme) {
  const x = (first * width) / store.video.frames;
  const wide = Math.max(3, ((last + 1 - first) * width) / store.video.frames);
  context.save();
  context.beginPath();
  context.rect(x, top, wide, BAR);
  context.clip();
  context.fillStyle = `rgb(${theme.lane})`;
  context.fillRect(x, top, wide, BAR);
  context.strokeStyle = `rgba(${theme.ink},.5)`;
  context.beginPath();
  for (let at = x - BAR; at < x + wide; at += 6) {
    context.moveTo(at, top + BAR);
    context.lineTo(at + BAR, top);
  }
  context.stroke();
  context.restore();
}

function paintReference(x, top, object, theme) {
  context.save();
  context.translate(x, top + BAR / 2);
  context.fillStyle = object.colour;
  context.fill(DIAMOND);
  context.lineWidth = 1.5;
  context.strokeStyle = `rgb(${theme.ink})`;
  context.stroke(DIAMOND);
  context.restore();
}

function showLabels() {
  byId("lane-names").replaceChildren(...store.objects.map((object, row) => {
    const swatch = make("span", { class: "dot" });
    swatch.style.background = object.colour;
    const button = make("button", { type: "button", class: "lane-name", "aria-pressed": object.id === store.object, onclick: () => chooseObject(object.id) },
      swatch, make("span", {}, object.name));
    button.title = `${object.name} (key ${row + 1})`;
    return button;
  }));
}

/** Show as many thumbnails of the video as fit. */
function showStrip() {
  if (!store.video) return;
  const box = byId("strip");
  const thumbWidth = (box.clientHeight * store.video.width) / store.video.height || 64;
  const count = Math.max(1, Math.round(box.clientWidth / thumbWidth));
  const wanted = `${count} ${store.video.frames}`;
  if (shownStrip === wanted) return;
  shownStrip = wanted;
  box.replaceChildren(...Array.from({ length: count }, (_, n) => {
    const index = Math.floor(((n + 0.5) * store.video.frames) / count);
    return make("img", { src: thumb(index), alt: "", draggable: "false", loading: "lazy" });
  }));
}

function showHead() {
  if (!store.video) return;
  const { frames, fps } = store.video;
  const track = byId("track");
  byId("head").style.left = `${((store.index + 0.5) / frames) * 100}%`;
  track.setAttribute("aria-valuemax", frames);
  track.setAttribute("aria-valuenow", store.index + 1);
  track.setAttribute("aria-valuetext", `Frame ${store.index + 1} of ${frames}, ${(store.index / fps).toFixed(1)} seconds`);
}

function scrub(event) {
  const box = byId("track").getBoundingClientRect();
  go(Math.floor(((event.clientX - box.left) / box.width) * store.video.frames));
}

export function startTimeline() {
  const track = byId("track");
  track.onpointerdown = (event) => {
    if (event.button || !store.video) return;
    track.setPointerCapture(event.pointerId);
    store.set({ playing: false });
    scrub(event);
  };
  track.onpointermove = (event) => track.hasPointerCapture(event.pointerId) && scrub(event);
  new ResizeObserver(() => {
    draw();
    showStrip();
  }).observe(track);
  coarse.onchange = draw;
  store.on("state frames theme absentFrom", draw);
  store.on("index", () => store.absentFrom !== null && draw());
  store.on("state object", showLabels);
  store.on("state", showStrip);
  store.on("index state", showHead);
}
