/** What the page shows: the server's state and this tab's own choices. A listener is called after its names change. */

class Store extends EventTarget {
  state = null; // the server's, see events `state` and `mask`
  link = "waiting"; // waiting | open | lost | denied
  index = 0; // the frame shown
  object = 0; // the number of the object painted, 0: none
  tool = "smart"; // smart | brush | eraser | fill | pan
  sign = 1; // smart select: clicks add (1) or remove (-1)
  brush = 12; // radius in pixels of the frame
  opacity = 0.5;
  hidden = new Set(); // objects not drawn
  masksShown = true;
  playing = false;
  running = null; // the last `progress` of a pass
  following = false; // the frame that a pass is working on is shown
  startedAt = 0; // where that pass was asked for
  labels = null; // of the frame shown; null while it loads
  dirty = false; // labels hold strokes that the server has not got
  proposal = null; // {labels, merged, object}: a suggestion not accepted yet
  thinking = false; // a suggestion is on its way
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

  isAbsent(object, index = this.index) {
    return (this.state?.absent[object] ?? []).find(([first, last]) => first <= index && index <= last);
  }
}

export const store = new Store();
export const byId = (id) => document.getElementById(id);

/** An element with attributes, listeners (`onclick`) and children. */
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
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  svg.setAttribute("aria-hidden", "true");
  const use = document.createElementNS("http://www.w3.org/2000/svg", "use");
  use.setAttribute("href", `#i-${name}`);
  svg.append(use);
  return svg;
}

/** A short message at the edge of the page; errors stay longer and are read out at once. */
export function tell(text, kind = "info") {
  const toast = make("div", { class: `toast ${kind}`, role: kind === "error" ? "alert" : "status" }, text);
  byId("toasts").append(toast);
  setTimeout(() => toast.remove(), kind === "error" ? 9000 : 4000);
}

export function clock(seconds) {
  const minutes = Math.floor(seconds / 60);
  return `${minutes}:${(seconds % 60).toFixed(2).padStart(5, "0")}`;
}
