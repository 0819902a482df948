/** The transport bar: playback, stepping, undo, tracking, and the button for the next frame to fix. */
import * as actions from "./actions.js";
import { mask, picture } from "./media.js";
import { byId, store } from "./store.js";

const AHEAD = 8; // number of frames to prefetch during playback

export function togglePlay() {
  if (store.playing) return store.set({ playing: false });
  store.set({ playing: true });
  play();
}

/** Play at the speed of the video, skipping frames if the machine is too slow. At the last frame, start from the first. */
async function play() {
  if (store.index === store.video.frames - 1) actions.go(0);
  let started = performance.now();
  let from = store.index;
  while (store.playing) {
    const due = Math.floor(((performance.now() - started) / 1000) * store.video.fps);
    const next = Math.min(store.video.frames - 1, Math.max(store.index + 1, from + due));
    for (let ahead = next; ahead <= Math.min(next + AHEAD, store.video.frames - 1); ahead++) {
      picture(ahead).catch(() => {});
      mask(ahead).catch(() => {});
    }
    const before = performance.now();
    await Promise.all([picture(next), mask(next)]).catch(() => store.set({ playing: false }));
    if (performance.now() - before > 250) [started, from] = [performance.now(), next]; // a slow connection: resume from here instead of skipping frames
    await new Promise((done) => setTimeout(done, Math.max(0, started + ((next - from) * 1000) / store.video.fps - performance.now())));
    if (!store.playing) break;
    actions.go(next);
    if (next === store.video.frames - 1) store.set({ playing: false });
    await new Promise(requestAnimationFrame);
  }
}

export function jumpToFrame() {
  byId("frame-number").focus();
  byId("frame-number").select();
}

function showFrame() {
  if (!store.video) return;
  const { frames, fps } = store.video;
  if (document.activeElement !== byId("frame-number")) byId("frame-number").value = store.index + 1;
  byId("frame-number").max = frames;
  byId("frame-count").textContent = `/ ${frames}`;
  const seconds = store.index / fps;
  byId("frame-time").textContent = `${Math.floor(seconds / 60)}:${(seconds % 60).toFixed(2).padStart(5, "0")}`;
  byId("step-back").disabled = store.index === 0;
  byId("step-on").disabled = store.index === frames - 1;
}

function showPlaying() {
  byId("play").setAttribute("aria-label", store.playing ? "Pause" : "Play");
  byId("play").querySelector("use").setAttribute("href", store.playing ? "#i-pause" : "#i-play");
}

function showRunning() {
  const run = store.running;
  document.body.classList.toggle("running", Boolean(run));
  byId("track-now").querySelector("use").setAttribute("href", run ? "#i-stop" : "#i-track");
  byId("track-text").textContent = run ? "Stop" : "Track";
  byId("track-now").setAttribute("aria-keyshortcuts", run ? "Escape" : "T");
  byId("progress").value = run ? run.done / Math.max(1, run.total) : 0;
  byId("progress-text").textContent = run ? progressText(run) : "";
}

function progressText({ done, total, fps, seconds_left: left }) {
  if (!done) return "Starting…";
  const rest = left < 90 ? `${Math.ceil(left)} s` : `${Math.ceil(left / 60)} min`;
  return `${done} of ${total} · ${fps.toFixed(fps < 10 ? 1 : 0)} frames/s · ${rest} left`;
}

function showEnabled() {
  if (!store.state) return;
  byId("undo").disabled = !store.state.undo;
  byId("redo").disabled = !store.state.redo;
  byId("track-now").disabled = !store.running && !store.state.references.length && !store.dirty && !store.proposal;
  byId("track-ways").disabled = byId("track-now").disabled || Boolean(store.running);
  byId("fix-next").disabled = !store.isTracked;
}

export function startTransport() {
  byId("play").onclick = togglePlay;
  byId("step-back").onclick = () => actions.go(store.index - 1);
  byId("step-on").onclick = () => actions.go(store.index + 1);
  byId("reference-back").onclick = () => actions.jumpReference(-1);
  byId("reference-on").onclick = () => actions.jumpReference(1);
  byId("undo").onclick = actions.undo;
  byId("redo").onclick = actions.redo;
  byId("fix-next").onclick = actions.fixNext;
  byId("track-now").onclick = () => actions.track();
  for (const button of document.querySelectorAll("[data-direction]")) {
    button.onclick = () => {
      byId("ways").hidePopover();
      actions.track(button.dataset.direction);
    };
  }
  byId("frame-number").onchange = (event) => {
    if (event.target.value) actions.go(Number(event.target.value) - 1);
    event.target.blur();
    showFrame();
  };
  byId("frame-number").onkeydown = (event) => {
    if (event.key === "Enter" || event.key === "Escape") event.target.blur();
  };
  byId("frame-number").onblur = showFrame;
  store.on("index state", showFrame);
  store.on("playing", showPlaying);
  store.on("running", showRunning);
  store.on("state frames running dirty proposal", showEnabled);
  showRunning();
}
