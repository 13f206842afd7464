// Before the first paint, so that a page in the other theme is never seen; not a module for that.
(function () {
  "use strict";
  let chosen = null;
  try {
    chosen = localStorage.getItem("tidings-theme");
  } catch {
    // Storage is forbidden here: the system's theme it is.
  }
  if (chosen === "light" || chosen === "dark") document.documentElement.dataset.theme = chosen;
})();
