// Elements from names, attributes and text. Text is always text: nothing here parses markup.

const SVG = "http://www.w3.org/2000/svg";

/** An element; `on…` attributes are listeners, null and false ones are left out. */
export function h(name, attributes, ...children) {
  return filled(document.createElement(name), attributes, children);
}

export function s(name, attributes, ...children) {
  return filled(document.createElementNS(SVG, name), attributes, children);
}

function filled(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : String(value));
  }
  element.append(...children.flat(Infinity).filter(isShown).map(asNode));
  return element;
}

const isShown = (child) => child !== null && child !== undefined && child !== false;
const asNode = (child) => (child instanceof Node ? child : String(child));

export function replace(element, ...children) {
  element.replaceChildren(...children.flat(Infinity).filter(isShown).map(asNode));
}

/**
 * Makes a part of the page anew. Who stands on a link or button of it by keyboard stands on its
 * successor: what leads to the same place, or is called the same, and is as many of these down.
 */
export function keepingFocus(change) {
  const held = document.activeElement;
  if (held === null || held === document.body) {
    change();
    return;
  }
  const alike = alikeTo(held);
  const index = alike().indexOf(held);
  change();
  if (held.isConnected || index < 0) return;
  const found = alike();
  (found[index] ?? found.at(-1))?.focus({ preventScroll: true });
}

function alikeTo(held) {
  const nameOf = (one) => one.getAttribute("href") ?? one.getAttribute("aria-label") ?? one.textContent;
  const name = nameOf(held);
  const main = document.getElementById("main");
  return () => [...main.querySelectorAll("a, button, summary")].filter((one) => nameOf(one) === name);
}

/** `controls` do nothing while `work` goes on; who stood on one of them does so afterwards. */
export async function whileBusy(controls, work) {
  const held = document.activeElement;
  for (const one of controls) one.disabled = true;
  try {
    await work();
  } finally {
    for (const one of controls) one.disabled = false;
    if (controls.includes(held) && document.activeElement === document.body) held.focus({ preventScroll: true });
  }
}

/** A place of the console: each part is encoded, whatever it is. */
export function place(view, id = null, query = {}) {
  const asked = new URLSearchParams(Object.entries(query).filter(([, value]) => value));
  const path = id === null ? view : `${view}/${encodeURIComponent(id)}`;
  return `#/${path}${asked.size ? `?${asked}` : ""}`;
}

export function link(text, href, attributes = {}) {
  return h("a", { href, ...attributes }, text);
}

export function button(text, onclick, attributes = {}) {
  return h("button", { type: "button", onclick, ...attributes }, text);
}

/** Foreign text: kept from reordering what stands beside it, and broken where it must be. */
export function foreign(text, attributes = {}) {
  return h("bdi", attributes, text);
}

/** An id that can be copied; `shown` may be a shorter one. */
export function copyable(text, shown = text) {
  const said = h("span", { class: "unseen", role: "status" });
  const copy = async () => {
    try {
      await navigator.clipboard.writeText(text);
      control.dataset.done = "";
      said.textContent = "Copied";
    } catch {
      said.textContent = "Cannot copy here";
    }
    setTimeout(() => {
      delete control.dataset.done;
      said.textContent = "";
    }, 1500);
  };
  const control = h(
    "button",
    { type: "button", class: "copy", title: `Copy ${text}`, "aria-label": `Copy ${text}`, onclick: copy },
    s("svg", { viewBox: "0 0 16 16", width: 12, height: 12, "aria-hidden": "true" },
      s("rect", { x: 5, y: 5, width: 9, height: 9, rx: 2 }),
      s("path", { d: "M11 5V3.500A1.500 1.500 0 0 0 9.500 2h-6A1.500 1.500 0 0 0 2 3.500v6A1.500 1.500 0 0 0 3.500 11H5" })),
  );
  return h("span", { class: "copyable" }, foreign(shown, { class: "mono" }), control, said);
}

/** A state in a word and a shape, so that nobody needs to see its colour. */
export function state(kind, word, title = null) {
  return h("span", { class: `state state-${kind}`, title }, shape(kind), word);
}

const SHAPES = {
  good: () => s("circle", { cx: 5, cy: 5, r: 4, fill: "currentColor" }),
  busy: () => [
    s("circle", { cx: 5, cy: 5, r: 3.5, fill: "none", stroke: "currentColor", "stroke-width": 1.4 }),
    s("path", { d: "M5 1.500a3.500 3.500 0 0 1 0 7z", fill: "currentColor" }),
  ],
  bad: () => s("path", { d: "M5 .8 9.600 9.200H.4z", fill: "currentColor" }),
  held: () => s("path", { d: "M1.800 1h2.200v8H1.800zM6 1h2.200v8H6z", fill: "currentColor" }),
  none: () =>
    s("circle", { cx: 5, cy: 5, r: 3.5, fill: "none", stroke: "currentColor", "stroke-width": 1.4 }),
};

function shape(kind) {
  const drawn = (SHAPES[kind] ?? SHAPES.none)();
  return s("svg", { viewBox: "0 0 10 10", width: 10, height: 10, "aria-hidden": "true" }, drawn);
}

/** What there is to do where nothing is to be seen. */
export function empty(headline, ...more) {
  return h("div", { class: "empty" }, h("p", { class: "empty-head" }, headline), more.map((one) => h("p", {}, one)));
}

export function code(text) {
  return h("code", { class: "command" }, text);
}
