import { get } from "../api.js";
import { empty, foreign, h, link, place, replace, state } from "../dom.js";
import { laneKind, laneWords, typesWords, worstFirst } from "../lane_words.js";
import { choice, field, input, keepLoaded, table } from "../parts.js";
import { ago } from "../times.js";

export const title = "Subscriptions";

const REFRESH_SECONDS = 3;
const LIMIT = 200;
const STATES = ["failing", "unverified", "behind", "paused", "converged"];

export function show(main, { heading, query, signal }) {
  const asked = { user: query.get("user") ?? "", state: query.get("state") ?? "" };
  const body = h("div", {});
  replace(main,
    h("div", { class: "head" }, heading, h("p", { class: "lead" }, "Webhooks, the worst first.")),
    filters(asked),
    body,
  );
  const load = () => get("subscriptions", { ...asked, limit: LIMIT }, signal);
  keepLoaded(body, signal, REFRESH_SECONDS, load, ({ subscriptions }) => update(body, subscriptions, asked));
}

function filters(asked) {
  const submit = (event) => {
    event.preventDefault();
    location.hash = place("subscriptions", null, Object.fromEntries(new FormData(event.target)));
  };
  return h("form", { class: "filters", onsubmit: submit, "aria-label": "Filter" },
    field("User", input("user", { value: asked.user, placeholder: "id or name" })),
    field("State", choice("state", [["", "any"], ...STATES.map((one) => [one, one])], asked.state)),
    h("div", { class: "actions" }, h("button", {}, "Filter"),
      asked.user || asked.state ? link("Show all", place("subscriptions"), { class: "button quiet" }) : null),
  );
}

const COLUMNS = [
  { label: "State", cell: (lane) => state(laneKind(lane), laneWords(lane)), wide: true },
  { label: "Subscription", cell: (lane) => link(foreign(lane.id, { class: "mono" }), place("subscriptions", lane.id)) },
  { label: "User", cell: (lane) => foreign(lane.user) },
  { label: "Types", cell: (lane) => foreign(typesWords(lane.types)) },
  { label: "Failures", cell: (lane) => lane.failures, numeric: true },
  { label: "Last try", cell: (lane) => ago(lane.lastAttemptAt) },
];

function update(body, lanes, asked) {
  if (!lanes.length) replace(body, nothing(asked));
  else {
    const count = lanes.length < LIMIT ? null : h("p", { class: "faint" }, `The first ${LIMIT}. A filter shows others.`);
    replace(body, table("Subscriptions, the worst first", COLUMNS, worstFirst(lanes)), count);
  }
}

function nothing(asked) {
  if (asked.user || asked.state) return empty("No subscription fits this filter");
  return empty("Nobody has subscribed by a webhook yet",
    "A client makes a push subscription with PushSubscription/set; its lane appears here at once, first as unverified.");
}
