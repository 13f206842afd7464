// Light, dark, or as the system has it; remembered in this browser.

import { h } from "./dom.js";

const KEY = "tidings-theme";
const WORDS = { system: "System", light: "Light", dark: "Dark" };

export function themeSwitch() {
  const chosen = document.documentElement.dataset.theme ?? "system";
  const choose = (event) => {
    const theme = event.target.value;
    if (theme === "system") delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = theme;
    try {
      if (theme === "system") localStorage.removeItem(KEY);
      else localStorage.setItem(KEY, theme);
    } catch {
      // Storage is forbidden here: it holds until the page is closed.
    }
  };
  return h("select", { class: "quiet theme", "aria-label": "Theme", onchange: choose },
    Object.entries(WORDS).map(([value, words]) =>
      h("option", { value, selected: value === chosen }, words)),
  );
}
