import { get } from "../api.js";
import { connectionKind, connectionWords } from "../connection_words.js";
import { empty, foreign, h, link, place, replace, state } from "../dom.js";
import { choice, field, input, keepLoaded, silentGateways, table } from "../parts.js";
import { ago } from "../times.js";

export const title = "Connections";

const REFRESH_SECONDS = 3;
const LIMIT = 100;
const NAMES = ["user", "account", "transport", "phase"];

export function show(main, { heading, query, signal }) {
  const asked = Object.fromEntries(NAMES.map((name) => [name, query.get(name) ?? ""]));
  const body = h("div", {});
  replace(main,
    h("div", { class: "head" }, heading, h("p", { class: "lead" }, "Event sources and WebSockets, the newest first.")),
    filters(asked),
    body,
  );
  const load = () => get("connections", { ...asked, phase: asked.phase || "open", limit: LIMIT }, signal);
  keepLoaded(body, signal, REFRESH_SECONDS, load, (found) => update(body, found, asked));
}

function filters(asked) {
  const submit = (event) => {
    event.preventDefault();
    location.hash = place("connections", null, Object.fromEntries(new FormData(event.target)));
  };
  return h("form", { class: "filters", onsubmit: submit, "aria-label": "Filter" },
    field("User", input("user", { value: asked.user, placeholder: "id or name" })),
    field("Account", input("account", { value: asked.account, placeholder: "id or name" })),
    field("Kind", choice("transport", [["", "any"], ["sse", "event source"], ["websocket", "WebSocket"]], asked.transport)),
    field("Phase", choice("phase", [["", "open"], ["ended", "ended lately"]], asked.phase)),
    h("div", { class: "actions" }, h("button", {}, "Filter"),
      Object.values(asked).some(Boolean) ? link("Show all", place("connections"), { class: "button quiet" }) : null),
  );
}

const COLUMNS = [
  { label: "Connection", cell: (one) => link(foreign(one.id, { class: "mono" }), place("connections", one.id)) },
  { label: "State", cell: (one) => state(connectionKind(one), connectionWords(one)), wide: true },
  { label: "User", cell: (one) => foreign(one.userName || one.user) },
  { label: "Kind", cell: (one) => one.transport },
  { label: "From", cell: (one) => foreign(one.address || "–", { class: "mono" }) },
  { label: "Opened", cell: (one) => ago(one.openedAt) },
  { label: "Sent", cell: (one) => one.messages, numeric: true },
  { label: "Last sent", cell: (one) => ago(one.toldAt) },
];

function update(body, { connections, silent, isMore }, asked) {
  const lacking = silent.length ? silentGateways(silent) : null;
  if (!connections.length && lacking) {
    replace(body, lacking, empty("No connection is known on the other gateways"));
  } else if (!connections.length) {
    replace(body, asked.user || asked.account || asked.transport || asked.phase
      ? empty("No connection fits this filter")
      : empty("Nobody is connected", "A client connects by an event source or a WebSocket: the tutorial for authors of clients shows how."));
  } else {
    replace(body, lacking, table("Connections, the newest first", COLUMNS, connections),
      isMore ? h("p", { class: "faint" }, "There are more. A filter shows others.") : null);
  }
}
