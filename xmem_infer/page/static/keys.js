/** All keyboard shortcuts. The list that `?` shows is generated from KEYS. */
import * as actions from "./actions.js";
import { accept, clearObject, ready } from "./editor.js";
import { openExport } from "./export.js";
import { renameObject } from "./objects.js";
import { byId, make, store } from "./store.js";
import { toggleTheme } from "./theme.js";
import { chooseTool, held } from "./tools.js";
import { jumpToFrame, togglePlay } from "./transport.js";
import { fit, zoom } from "./view.js";

const brush = (factor) => store.set({ brush: Math.min(200, Math.max(1, Math.round(store.brush * factor + (factor > 1 ? 1 : 0)))) });
const opacity = (change) => store.set({ opacity: Math.min(1, Math.max(0, store.opacity + change)) });

// [group, keys as displayed, description, keys as returned by `nameOf`, handler]
const KEYS = [
  ["Mark", "S", "Smart select: drag a box, click to add, Alt+click to remove", ["s"], () => chooseTool("smart")],
  ["Mark", "B", "Brush (Alt or the right button erases)", ["b"], () => chooseTool("brush")],
  ["Mark", "E", "Eraser", ["e"], () => chooseTool("eraser")],
  ["Mark", "F", "Fill an outline (Alt removes a piece)", ["f"], () => chooseTool("fill")],
  ["Mark", "[  ]", "Smaller, larger brush", ["[", "]"], ({ key }) => brush(key === "]" ? 1.25 : 0.8)],
  ["Mark", "Enter", "Accept the suggestion", ["Enter"], accept],
  ["Mark", "Esc", "Discard the suggestion; stop tracking", ["Escape"], actions.escape],
  ["Mark", "Del", "Clear the object from this frame", ["Delete", "Backspace"], () => ready() && clearObject()],
  ["Mark", "Ctrl Z", "Undo", ["Ctrl+z"], actions.undo],
  ["Mark", "Ctrl Shift Z", "Redo", ["Ctrl+Shift+Z", "Ctrl+y"], actions.redo],
  ["Objects", "1 – 9", "Choose an object", [..."123456789"], (event) => actions.chooseObject(store.objects[event.key - 1]?.id)],
  ["Objects", "A", "Add an object", ["a"], actions.addObject],
  ["Objects", "F2", "Rename it", ["F2"], () => renameObject(store.object)],
  ["Objects", "D", "It disappears here; again: until here", ["d"], () => actions.markAbsent()],
  ["Objects", "H", "Hide or show it", ["h"], () => actions.toggleVisible(store.object)],
  ["Objects", "V", "Hide or show all masks", ["v"], () => store.set({ masksShown: !store.masksShown })],
  ["Objects", "O  Shift O", "Masks more, less opaque", ["o", "Shift+O"], ({ shiftKey }) => opacity(shiftKey ? -0.1 : 0.1)],
  ["Frames", "Space", "Play or pause; held: drag the view", [], null],
  ["Frames", "← →", "One frame (with Shift: ten)", ["ArrowLeft", "ArrowRight", "Shift+ArrowLeft", "Shift+ArrowRight"],
    ({ key, shiftKey }) => actions.go(store.index + (key === "ArrowLeft" ? -1 : 1) * (shiftKey ? 10 : 1))],
  ["Frames", "Home  End", "First, last frame", ["Home", "End"], ({ key }) => actions.go(key === "Home" ? 0 : store.video.frames - 1)],
  ["Frames", ",  .", "Reference before, after", [",", "."], ({ key }) => actions.jumpReference(key === "," ? -1 : 1)],
  ["Frames", "G", "Go to a frame by its number", ["g"], jumpToFrame],
  ["Frames", "R", "Make this frame a reference, or not", ["r"], actions.toggleReference],
  ["Track", "T", "Track both ways from here, or stop", ["t"], () => actions.track()],
  ["Track", "Shift T", "Track forwards only", ["Shift+T"], () => actions.track("forward")],
  ["Track", "Y", "Track backwards only", ["y"], () => actions.track("backward")],
  ["Track", "N", "Fix next: the frame that needs it most", ["n"], actions.fixNext],
  ["View", "+  −", "Zoom (or the wheel, or two fingers)", ["+", "=", "-"], ({ key }) => zoom(key === "-" ? 0.8 : 1.25)],
  ["View", "0", "Fit the frame", ["0"], fit],
  ["View", "L", "Light or dark", ["l"], toggleTheme],
  ["View", "X", "Export", ["x"], () => openExport()],
  ["View", "?", "This list", ["?"], () => byId("help").showModal()],
];

/** Name of a key as in KEYS. Letters are lower case unless Shift is held, whatever Caps Lock; symbols are as typed. */
function nameOf(event) {
  const letter = /^[a-z]$/i.test(event.key);
  const shift = event.shiftKey && (letter || event.key.length > 1);
  const key = letter ? (shift ? event.key.toUpperCase() : event.key.toLowerCase()) : event.key;
  return `${event.ctrlKey || event.metaKey ? "Ctrl+" : ""}${shift ? "Shift+" : ""}${key}`;
}

function down(event) {
  const typing = event.target.closest("input:not([type=range]), select, textarea");
  if (typing || document.querySelector("dialog[open], [popover]:popover-open") || !store.state) return;
  const onButton = event.target.closest("button, a");
  if (event.key === " ") {
    if (onButton && event.target.matches(":focus-visible")) return;
    event.preventDefault();
    if (!event.repeat) Object.assign(held, { space: true, panned: false });
    return;
  }
  if (event.key === "Enter" && onButton) return;
  const name = nameOf(event);
  const row = KEYS.find(([, , , keys]) => keys.includes(name));
  if (!row || event.altKey) return;
  event.preventDefault();
  row[4](event);
}

function up(event) {
  if (event.key !== " " || !held.space) return;
  held.space = false;
  if (!held.panned) togglePlay();
}

export function startKeys() {
  addEventListener("keydown", down);
  addEventListener("keyup", up);
  for (const group of new Set(KEYS.map((row) => row[0]))) {
    const rows = KEYS.filter((row) => row[0] === group).flatMap(([, keys, text]) => [
      make("dt", {}, ...keys.split(/ {2}/).map((key) => make("kbd", {}, key))), make("dd", {}, text),
    ]);
    byId("help-keys").append(make("section", {}, make("h3", {}, group), make("dl", {}, ...rows)));
  }
  byId("help-open").onclick = () => byId("help").showModal();
}
