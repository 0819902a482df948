/** The export dialog. The server exports one format at a time, and the browser then downloads it. */
import { act } from "./actions.js";
import { byId, make, store, tell } from "./store.js";

let job = null; // number of the export that this tab waits for

export function openExport() {
  if (!store.state) return;
  const formats = store.state.exports;
  const chosen = byId("formats").querySelector("input:checked")?.value ?? formats[0]?.format;
  byId("formats").replaceChildren(...formats.map(({ format, label }) => make("label", { class: "format" },
    make("input", { type: "radio", name: "format", value: format, checked: format === chosen }), make("span", {}, label))));
  const found = Object.keys(store.state.frames).length;
  byId("export-note").textContent = `${found} of ${store.video.frames} frames have masks, ${store.objects.length} ${store.objects.length === 1 ? "object" : "objects"}.`;
  byId("export-start").disabled = !found || !formats.length;
  byId("export").showModal();
}

async function start(event) {
  event.preventDefault();
  const format = byId("formats").querySelector("input:checked").value;
  job = Date.now();
  show({ done: 0, total: null });
  if ((await act({ do: "export", format, job })) === undefined) show(null);
}

/** Handle an export event; events of other tabs' exports are ignored. */
export function exportArrived({ job: id, done, total, file, error }) {
  if (id !== job) return;
  if (error) {
    show(null);
    tell(`The export failed: ${error}`, "error");
  } else if (file) {
    show(null);
    make("a", { href: `api/export/${id}`, download: file }).click();
    tell(`${file} is in your downloads.`);
    byId("export").close();
  } else show({ done, total });
}

function show(progress) {
  if (!progress) job = null;
  byId("export-start").disabled = Boolean(progress);
  byId("export-progress").hidden = !progress;
  if (progress?.total) byId("export-progress").value = progress.done / progress.total;
  else byId("export-progress").removeAttribute("value"); // indeterminate: the total is not known yet
}

export function startExport() {
  byId("export-open").onclick = openExport;
  byId("export-form").onsubmit = start;
  for (const button of document.querySelectorAll("[data-close]")) button.onclick = () => button.closest("dialog").close();
}
