/** The side panel: list of objects, and status of the shown frame. */
import { COLOURS, act, addObject, chooseObject, markAbsent, toggleReference, toggleVisible } from "./actions.js";
import { clearObject, ready } from "./editor.js";
import { rgbOf } from "./labels.js";
import { byId, icon, make, store } from "./store.js";
import { sureness } from "./timeline.js";

const FRAME_KINDS = {
  reference: ["Reference", "Painted by hand: it is kept, and tracking starts from it."],
  propagated: ["Tracked", ""],
  empty: ["No mask yet", "Mark the objects here, or track from a frame that has them."],
};
const menu = byId("object-menu");
let menuFor = 0;
let editing = 0; // id of the object whose name is being edited, 0: none

function rows() {
  return store.objects.map((object, n) => {
    const number = make("span", { class: "swatch" }, n < 9 ? String(n + 1) : "");
    number.style.background = object.colour;
    const [r, g, b] = rgbOf(object.colour);
    number.style.color = 0.299 * r + 0.587 * g + 0.114 * b > 140 ? "#111" : "#fff";
    const chosen = object.id === store.object;
    const hidden = store.hidden.has(object.id);
    const name = editing === object.id ? nameField(object)
      : make("button", { type: "button", class: "object-choose", "aria-pressed": chosen, onclick: () => chooseObject(object.id), ondblclick: () => renameObject(object.id) },
        number, make("span", { class: "object-name" }, object.name));
    return make("li", { class: `object${chosen ? " chosen" : ""}${hidden ? " off" : ""}` }, name,
      button(hidden ? "eye-off" : "eye", `${hidden ? "Show" : "Hide"} ${object.name}`, () => toggleVisible(object.id)),
      button("more", `More for ${object.name}`, (event) => openMenu(object, event.currentTarget)));
  });
}

const button = (name, label, onclick) => make("button", { type: "button", class: "icon small", "aria-label": label, title: label, onclick }, icon(name));

function nameField(object) {
  const end = (save) => () => {
    if (!editing) return;
    editing = 0;
    const name = field.value.trim();
    if (save && name && name !== object.name) act({ do: "change_object", object_id: object.id, name });
    showObjects();
  };
  const field = make("input", { class: "name-field", value: object.name, maxlength: "60", "aria-label": "Name of the object", onblur: end(true) });
  field.onkeydown = (event) => {
    if (event.key === "Enter") end(true)();
    if (event.key === "Escape") end(false)();
  };
  return field;
}

export function renameObject(id) {
  if (!id) return;
  editing = id;
  showObjects();
  byId("objects").querySelector("input").select();
}

function openMenu(object, at) {
  const box = at.getBoundingClientRect(); // read now, because `store.set` rebuilds the list
  menuFor = object.id;
  store.set({ object: object.id });
  byId("absent-text").textContent = store.absence(object.id) ? "Present on this frame" : store.absentFrom === null ? "Absent from this frame on…" : "Absent until this frame";
  byId("menu-colours").replaceChildren(...COLOURS.map((colour) => {
    const one = make("button", { type: "button", class: "colour", "aria-label": `Colour ${colour}`, "aria-pressed": colour === object.colour, onclick: fromMenu(() => act({ do: "change_object", object_id: menuFor, colour })) });
    one.style.background = colour;
    return one;
  }));
  menu.showPopover();
  menu.style.left = `${Math.max(8, Math.min(innerWidth - menu.offsetWidth - 8, box.right - menu.offsetWidth))}px`;
  menu.style.top = `${Math.max(8, Math.min(innerHeight - menu.offsetHeight - 8, box.bottom + 4))}px`;
}

const fromMenu = (action) => () => {
  menu.hidePopover();
  action();
};

function showObjects() {
  if (editing && document.activeElement?.classList.contains("name-field")) return;
  byId("objects").replaceChildren(...rows());
  byId("no-objects").hidden = store.objects.length > 0;
}

/** Show whether the frame is a reference, tracked or empty, and the confidence of each object. */
function showFrame() {
  if (!store.state) return;
  const frame = store.frame();
  const kind = store.isReference() ? "reference" : frame ? "propagated" : "empty";
  const [word, note] = FRAME_KINDS[kind];
  byId("frame-kind").textContent = word;
  byId("frame-kind").dataset.kind = kind;
  byId("toggle-reference").textContent = kind === "reference" ? "Remove reference" : "Use as reference";
  byId("toggle-reference").disabled = kind === "empty";
  byId("sureness").replaceChildren(...(kind === "propagated" ? store.objects.map((object) => sureRow(object, frame)) : []));
  byId("frame-note").textContent = note;
}

function sureRow(object, frame) {
  const confidence = frame.confidence[object.id];
  const away = store.absence(object.id) ? "absent" : frame.lost.includes(object.id) ? "lost" : confidence === undefined ? "–" : null;
  const bar = make("span", { class: "bar" }, make("span", {}));
  if (!away) {
    bar.firstChild.style.width = `${Math.round(confidence * 100)}%`;
    bar.firstChild.style.background = sureness(confidence);
  }
  return make("div", { class: "sure" }, make("span", { class: "sure-name" }, object.name), bar, make("span", { class: "sure-value" }, away ?? `${Math.round(confidence * 100)} %`));
}

export function startObjects() {
  byId("add-object").onclick = addObject;
  byId("toggle-reference").onclick = toggleReference;
  byId("menu-rename").onclick = fromMenu(() => renameObject(menuFor));
  byId("menu-absent").onclick = fromMenu(() => markAbsent(menuFor));
  byId("menu-clear").onclick = fromMenu(() => ready() && clearObject());
  byId("menu-remove").onclick = fromMenu(() => act({ do: "remove_object", object_id: menuFor }));
  store.on("state object hidden", showObjects);
  store.on("state frames index theme", showFrame);
}
