/** State of the page: the state of the server, and that of this tab. Each change of a field fires an event of its name. */

class Store extends EventTarget {
  state = null; // state of the server, updated by the events `state` and `mask`
  references = new Set(); // indices of the frames that the user has painted
  link = "waiting"; // waiting | open | lost | denied
  index = 0; // index of the shown frame
  object = 0; // id of the object to paint, 0: none
  tool = "smart"; // smart | brush | eraser | fill | pan
  sign = 1; // smart select: clicks add (1) or remove (-1)
  brush = 12; // radius in pixels of the frame
  opacity = 0.5;
  hidden = new Set(); // ids of the objects that are not drawn
  masksShown = true;
  playing = false;
  running = null; // last `progress` event while tracking, else null
  following = false; // show each frame as soon as it is tracked
  startedAt = 0; // index of the frame where tracking was started
  labels = null; // of the shown frame; null until it is loaded
  dirty = false; // there are strokes that the server has not saved yet
  proposal = null; // {merged, object}: suggestion that is not accepted yet
  thinking = false; // waiting for a suggestion
  absentFrom = null; // first frame of an absence that is being marked

  set(changes) {
    const names = Object.keys(changes).filter((name) => this[name] !== changes[name]);
    Object.assign(this, changes);
    for (const name of names) this.dispatchEvent(new Event(name));
  }

  on(names, listener) {
    for (const name of names.split(" ")) this.addEventListener(name, listener);
  }

  get video() {
    return this.state?.video;
  }

  get objects() {
    return this.state?.objects ?? [];
  }

  frame(index = this.index) {
    return this.state?.frames[index];
  }

  /** Whether there are masks that were not painted by the user. Each painted frame is a reference. */
  get isTracked() {
    return Object.keys(this.state.frames).length > this.state.references.length;
  }

  isReference(index = this.index) {
    return this.references.has(index);
  }

  /** The absence of an object in the shown frame, [first, last]; undefined: it is not absent. */
  absence(object) {
    return (this.state?.absent[object] ?? []).find(([first, last]) => first <= this.index && this.index <= last);
  }
}

export const store = new Store();
export const byId = (id) => document.getElementById(id);

/** Create an element with attributes, event handlers (`onclick`) and children. */
export function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element[name] = value;
    else if (value !== false && value != null) element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children);
  return element;
}

export function icon(name) {
  const template = make("template");
  template.innerHTML = `<svg aria-hidden="true"><use href="#i-${name}"/></svg>`;
  return template.content.firstChild;
}

/** Return a function that calls `paint` before the next repaint of the screen, once however often it is called. */
export function oncePerRepaint(paint) {
  let waiting = 0;
  return () => {
    cancelAnimationFrame(waiting);
    waiting = requestAnimationFrame(paint);
  };
}

/** Show a short message. Errors stay longer, and screen readers read them out immediately. */
export function tell(text, kind = "info") {
  const toast = make("div", { class: `toast ${kind}`, role: kind === "error" ? "alert" : "status" }, text);
  byId("toasts").append(toast);
  setTimeout(() => toast.remove(), kind === "error" ? 9000 : 4000);
}
