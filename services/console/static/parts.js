// Parts of several views: notices, forms, tables, facts, dialogs.

import { button, foreign, h, keepingFocus, replace } from "./dom.js";
import { clock } from "./times.js";

/** What went wrong, where it is looked for. */
export function problem(error) {
  const title = error.title ?? "Something went wrong in this page";
  const detail = error.detail ?? String(error);
  return h("div", { class: "notice notice-bad", role: "alert" }, h("strong", {}, title), detail && detail !== title ? h("p", {}, detail) : null);
}

export function notice(text) {
  return h("p", { class: "notice", role: "status" }, text);
}

/** A labelled control; `hint` is read with it. */
export function field(label, control, hint = null) {
  const id = control.id || `f-${label.toLowerCase().replace(/\W+/g, "-")}`;
  control.id = id;
  if (hint) control.setAttribute("aria-describedby", `${id}-hint`);
  return h("div", { class: "field" },
    h("label", { for: id }, label),
    control,
    hint ? h("p", { class: "hint", id: `${id}-hint` }, hint) : null,
  );
}

export function input(name, attributes = {}) {
  return h("input", { name, type: "text", autocomplete: "off", autocapitalize: "none", spellcheck: "false", ...attributes });
}

export function choice(name, options, chosen = "") {
  return h("select", { name },
    options.map(([value, words]) => h("option", { value, selected: value === chosen }, words)),
  );
}

/**
 * Rows under headings; on a narrow screen each row is a card. A column is
 * `{label, cell(row), numeric?, wide?}`; the roles stay when CSS makes blocks of them.
 */
export function table(caption, columns, rows) {
  const head = columns.map((one) =>
    h("th", { scope: "col", role: "columnheader", class: one.numeric ? "num" : null }, one.label));
  const body = rows.map((row) =>
    h("tr", { role: "row" }, columns.map((one) =>
      h("td", { role: "cell", "data-label": one.label, class: cellClass(one) }, one.cell(row)))));
  return h("div", { class: "table" },
    h("table", { role: "table" },
      h("caption", { class: "unseen" }, caption),
      h("thead", { role: "rowgroup" }, h("tr", { role: "row" }, head)),
      h("tbody", { role: "rowgroup" }, body),
    ),
  );
}

const cellClass = (column) =>
  [column.numeric && "num", column.wide && "wide"].filter(Boolean).join(" ") || null;

/** Names and what they are; pairs whose value is null are left out. */
export function facts(pairs) {
  return h("dl", { class: "facts" },
    pairs.filter(([, value]) => value !== null && value !== undefined).map(([name, value]) =>
      h("div", {}, h("dt", {}, name), h("dd", {}, value))),
  );
}

export function section(title, ...content) {
  return h("section", {}, h("h2", {}, title), ...content);
}

export function tag(text) {
  return h("bdi", { class: "tag" }, text);
}

/** Types and the states they came to. */
export function changes(changed) {
  const pairs = Object.entries(changed ?? {});
  if (!pairs.length) return h("span", { class: "faint" }, "nothing");
  return h("span", { class: "changes" }, pairs.map(([type, to]) =>
    h("span", { class: "change" }, h("bdi", { class: "change-type" }, type), h("bdi", { class: "change-state" }, to))));
}

/**
 * Asks before something is done that cannot be taken back. Resolves to null, or to what was
 * written where a `reason` is asked for. Who leaves the view, which aborts `signal`, has said no.
 */
export function confirmed({ title, text, action, signal, reason = null }) {
  const why = reason ? input("reason", { maxlength: 200 }) : null;
  return new Promise((resolve) => {
    const form = h("form", { method: "dialog" },
      h("h2", { id: "dialog-title" }, title),
      h("p", {}, text),
      why ? field(reason, why) : null,
      h("div", { class: "actions" },
        h("button", { value: "yes", class: "primary" }, action),
        button("Cancel", () => dialog.close("")),
      ),
    );
    const dialog = h("dialog", { "aria-labelledby": "dialog-title" }, form);
    const leave = () => dialog.close("");
    signal.addEventListener("abort", leave);
    dialog.addEventListener("close", () => {
      signal.removeEventListener("abort", leave);
      const isYes = !signal.aborted && dialog.returnValue === "yes";
      dialog.remove();
      resolve(isYes ? (why?.value ?? "") : null);
    });
    document.body.append(dialog);
    dialog.showModal();
  });
}

/**
 * Loads now and every `seconds`, while the view is there and seen. What was shown stays when a
 * later load fails; above it is said since when it is old, and why. Gives a function that loads
 * at once; an answer that another one has overtaken is not shown.
 */
export function keepLoaded(into, signal, seconds, load, show) {
  const old = h("div", { role: "status" });
  let timer;
  let shownAt = null;
  let loads = 0;
  const again = async () => {
    clearTimeout(timer);
    if (signal.aborted) return;
    if (!document.hidden || shownAt === null) await once();
    clearTimeout(timer);
    if (!signal.aborted) timer = setTimeout(again, seconds * 1000);
  };
  const once = async () => {
    loads += 1;
    const mine = loads;
    try {
      const found = await load();
      if (signal.aborted || mine !== loads) return;
      keepingFocus(() => show(found));
      shownAt = new Date();
      replace(old);
    } catch (error) {
      if (signal.aborted || mine !== loads || error.status === 401 || error.status === 0) return;
      if (shownAt === null || error.status === 404) {
        shownAt = null;
        replace(old);
        replace(into, problem(error));
      } else sayOld(old, shownAt, error);
    }
  };
  signal.addEventListener("abort", () => clearTimeout(timer));
  if (!into.firstChild) replace(into, h("p", { class: "faint loading" }, "Loading …"));
  into.before(old);
  again();
  return again;
}

/** Not said again while it stays the same: some hear it read. */
function sayOld(old, shownAt, error) {
  const said = problem({ title: `Not up to date since ${clock(shownAt)}`, detail: error.detail || String(error.message ?? error) });
  said.removeAttribute("role");
  if (old.textContent !== said.textContent) replace(old, said);
}

/** Of gateways that others know of, and that did not answer in time. */
export function silentGateways(silent, words = "Connections that are missing here: those of ") {
  return h("div", { class: "notice notice-bad" },
    h("strong", {}, `${silent.length} gateway${silent.length === 1 ? "" : "s"} did not answer in time`),
    h("p", {}, words, silent.map((id, at) => [at ? ", " : null, foreign(id, { class: "mono" })])));
}
