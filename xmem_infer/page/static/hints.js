/** The hint on the next step, the options of the tool, and the state of the connection. */
import { accept, discard } from "./editor.js";
import { byId, make, store } from "./store.js";

const marks = {
  smart: "**Drag a box** around an object, or click on it",
  brush: "**Paint** the object",
  eraser: "**Wipe** over what is too much",
  fill: "**Click inside an outline** to fill it",
  pan: "Drag to move the view",
};

/** Return [index of the current step in the header, text]; keys are in backticks, names of buttons in asterisks. */
function hint() {
  const { state, proposal, index } = store;
  if (state.fault) return [0, `Masks can be painted, not tracked: ${state.fault}`];
  if (store.absentFrom !== null) return [2, "Go to the last frame without the object, then press **D** again. `Esc` cancels"];
  if (store.thinking) return [0, "Finding the object…"];
  if (proposal) return [0, "Click to add. **Remove** `Alt` takes away"];
  if (store.running) return [1, "Masks appear as they are found"];
  if (!state.references.length) return [0, marks[store.tool]];
  if (!store.isTracked) return [1, "Now **Track** `T` it through the video, or **Add object** `A`"];
  if (store.isReference() && index !== state.references[0]) return [1, "Corrected? **Track** `T` again, to both sides of this frame"];
  return [2, "**Fix next** `N` shows the frame most in need of a correction"];
}

function showHint() {
  if (!store.state) return;
  const [step, text] = hint();
  byId("hint").replaceChildren(...text.split(/(`[^`]+`|\*\*[^*]+\*\*)/).map((part) => {
    if (part.startsWith("`")) return make("kbd", {}, part.slice(1, -1));
    return part.startsWith("**") ? make("strong", {}, part.slice(2, -2)) : part;
  }));
  for (const [n, one] of [...byId("steps").children].entries()) {
    if (n === step) one.setAttribute("aria-current", "step");
    else one.removeAttribute("aria-current");
  }
}

function showOptions() {
  byId("brush-options").hidden = !["brush", "eraser"].includes(store.tool);
  byId("smart-options").hidden = store.tool !== "smart";
  byId("brush-size").value = store.brush;
  byId("brush-value").textContent = `${store.brush * 2} px`;
  byId("opacity").value = store.opacity;
  byId("masks-shown").setAttribute("aria-pressed", store.masksShown);
  byId("masks-shown").querySelector("use").setAttribute("href", store.masksShown ? "#i-eye" : "#i-eye-off");
  byId("proposal-buttons").hidden = !store.proposal;
  for (const button of document.querySelectorAll("[data-sign]")) button.setAttribute("aria-pressed", Number(button.dataset.sign) === store.sign);
  byId("busy").hidden = !store.thinking;
}

const links = {
  waiting: "Connecting…",
  open: "",
  lost: "Connection lost. Trying again… What you paint is kept here and saved then.",
  denied: "This address is no longer valid. Open the one that xmem-infer printed when it started.",
};

function showLink() {
  byId("link").textContent = links[store.link];
  byId("link").hidden = store.link === "open";
  byId("link").dataset.link = store.link;
}

function showSaved() {
  byId("saved").textContent = store.dirty ? (store.link === "open" ? "Saving…" : "Not saved yet") : "Saved";
}

export function startHints() {
  store.on("state frames index tool proposal thinking running absentFrom", showHint);
  store.on("tool brush opacity masksShown sign proposal thinking", showOptions);
  store.on("link", showLink);
  store.on("dirty link", showSaved);
  byId("brush-size").oninput = (event) => store.set({ brush: Number(event.target.value) });
  byId("opacity").oninput = (event) => store.set({ opacity: Number(event.target.value) });
  byId("masks-shown").onclick = () => store.set({ masksShown: !store.masksShown });
  byId("accept").onclick = accept;
  byId("discard").onclick = discard;
  for (const button of document.querySelectorAll("[data-sign]")) button.onclick = () => store.set({ sign: Number(button.dataset.sign) });
  showOptions();
  showLink();
}
