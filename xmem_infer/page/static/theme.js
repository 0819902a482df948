/** Light or dark theme: the preference of the system, until the user chooses. */
import { byId, store } from "./store.js";

const system = matchMedia("(prefers-color-scheme: light)");

function show() {
  document.documentElement.dataset.theme = localStorage.getItem("theme") ?? (system.matches ? "light" : "dark");
  store.dispatchEvent(new Event("theme"));
}

export function toggleTheme() {
  localStorage.setItem("theme", document.documentElement.dataset.theme === "light" ? "dark" : "light");
  show();
}

export function startTheme() {
  system.addEventListener("change", show);
  byId("theme").onclick = toggleTheme;
  show();
}
