/** Entry point: starts all parts of the page and applies the events of the server to the store. */
import { go } from "./actions.js";
import { live } from "./api.js";
import { flush, redraw, refresh, shown } from "./editor.js";
import { exportArrived, startExport } from "./export.js";
import { startHints } from "./hints.js";
import { startKeys } from "./keys.js";
import { startObjects } from "./objects.js";
import { byId, store, tell } from "./store.js";
import { startTheme } from "./theme.js";
import { startTimeline } from "./timeline.js";
import { startTools } from "./tools.js";
import { startTransport } from "./transport.js";
import { fit, startView } from "./view.js";

let wasRunning = false; // tracking was running at the last change of `running`

const events = {
  state: takeState,
  mask: takeMask,
  progress: (progress) => store.set({ running: progress.running ? progress : null }),
  goto: ({ index }) => store.proposal || store.thinking || store.dirty || go(index, false), // ignored while the user is editing in this tab
  export: exportArrived,
  error: ({ message }) => tell(message, "error"),
};

/** Apply a state with all frames, or a state without frames and the `frames` that have changed (null: removed). */
function takeState({ state, frames = {} }) {
  const first = !store.state;
  state.frames ??= { ...store.state.frames };
  for (const [index, entry] of Object.entries(frames)) {
    if (entry) state.frames[index] = entry;
    else delete state.frames[index];
  }
  store.set({ references: new Set(state.references), state, running: state.running });
  if (!store.objects.some((one) => one.id === store.object)) store.set({ object: store.objects[0]?.id ?? 0 });
  if (first) start();
  reload();
  redraw();
}

function start() {
  const { name, width, height, frames } = store.video;
  document.title = `${name} – xmem_infer`;
  byId("video-name").textContent = name;
  byId("video-size").textContent = `${width} × ${height} · ${frames} frames`;
  store.set({ brush: Math.max(4, Math.round(width / 60)) });
  document.body.classList.remove("starting");
  fit();
}

function takeMask({ index, version, confidence, lost }) {
  store.state.frames[index] = { version, confidence, lost };
  store.dispatchEvent(new Event("frames"));
  if (store.following && !store.isReference(index)) go(index, false);
  if (index === store.index) reload();
}

/** Reload the mask of the shown frame if the server has another version. */
function reload() {
  if (shown.index !== store.index || shown.version !== (store.frame()?.version ?? null)) refresh();
}

/** When tracking ends, return to the frame where it was started, unless the user has moved meanwhile. */
function runningChanged() {
  if (store.running) wasRunning = true;
  else if (wasRunning) {
    wasRunning = false;
    if (store.following) go(store.startedAt, false);
    store.set({ following: false });
  }
}

function linked(link) {
  store.set({ link });
  if (link === "lost") store.set({ playing: false });
  if (link === "open") flush();
}

startTheme();
startHints();
startView();
startTools();
startTimeline();
startTransport();
startObjects();
startExport();
startKeys();
store.on("running", runningChanged);
store.on("hidden opacity", () => redraw());
addEventListener("beforeunload", (event) => store.dirty && event.preventDefault());
if (location.search) history.replaceState(null, "", location.pathname); // hide the token: it is in a cookie now
live.start((event) => events[event.event]?.(event), linked);
