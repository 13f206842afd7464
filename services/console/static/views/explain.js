import { post } from "../api.js";
import { code, copyable, empty, foreign, h, link, place, replace, state } from "../dom.js";
import { changes, choice, facts, field, input, problem, section } from "../parts.js";
import { atClock } from "../times.js";

export const title = "Explain";

const OUTCOMES = {
  told: ["good", "Told"],
  waits: ["busy", "Waits"],
  not_told: ["bad", "Not told"],
  unknown: ["none", "Unknown"],
};
const RECEIVERS = [
  ["user", "everything of a user"],
  ["subscription", "a subscription"],
  ["connection", "a connection"],
];

export function show(main, { heading, query, signal }) {
  const answer = h("div", { class: "explained", "aria-live": "polite" });
  const kind = RECEIVERS.map(([name]) => name).find((name) => query.get(name)) ?? "user";
  const about = query.get("event") ?? query.get("account") ?? "";
  const form = h("form", { class: "filters", "aria-label": "What to explain" },
    field("Event or account", input("about", { required: true, value: about }), "A cursor, a place in the log, or an account: its newest event."),
    field("Receiver", choice("kind", RECEIVERS, kind)),
    field("Its id or name", input("receiver", { required: true, value: query.get(kind) ?? "" })),
    h("div", { class: "actions" }, h("button", { class: "primary" }, "Explain")),
  );
  let before = new AbortController();
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    before.abort();
    before = new AbortController();
    const asked = Object.fromEntries(new FormData(form));
    await ask(question(asked), answer, AbortSignal.any([signal, before.signal]));
  });
  replace(main,
    h("div", { class: "head" }, heading, h("p", { class: "lead" }, "Why was somebody told of an event, or why not?")),
    form,
    answer,
  );
  if (about && query.get(kind)) form.requestSubmit();
  else replace(answer, empty("Name an event and who should have been told", "Any event in the list of events has a button that fills in its part."));
}

/** As the server wants it: an event by its cursor or place, else an account. */
function question({ about, kind, receiver }) {
  const text = about.trim();
  const isEvent = /^(1\.[a-z0-9]{1,26}\.)?\d{1,19}$/.test(text);
  return { [isEvent ? "event" : "account"]: text, [kind]: receiver.trim() };
}

/** `signal`: the view was left, or something else was asked. */
async function ask(asked, answer, signal) {
  replace(answer, h("p", { class: "faint loading" }, "Reading the evidence …"));
  try {
    const explanation = await post("explain", asked, signal);
    if (!signal.aborted) replace(answer, ...explained(explanation));
  } catch (error) {
    if (!signal.aborted) replace(answer, problem(error));
  }
}

function explained({ headline, outcome, event, verdicts }) {
  const isOne = verdicts.length === 1 && verdicts[0].headline === headline;
  return [
    isOne ? null : h("p", { class: "verdict" }, outcomeState(outcome), " ", foreign(headline)),
    event ? section("The event", eventFacts(event)) : null,
    ...verdicts.map(verdict),
  ].filter(Boolean);
}

function outcomeState(outcome) {
  const [kind, word] = OUTCOMES[outcome] ?? ["none", outcome];
  return state(kind, word);
}

function eventFacts(event) {
  return facts([
    ["Account", [event.accountName ? [foreign(event.accountName), " "] : null, link("timeline", place("accounts", event.account))]],
    ["Changed", changes(event.changed)],
    ["At", event.at ? atClock(event.at) : "–"],
    ["Place in the log", event.sequence ?? "not in it yet"],
    ["Cursor", event.cursor ? copyable(event.cursor) : null],
    ["Method", event.method ? foreign(event.method) : null],
    ["By", event.principal ? foreign(event.principal) : null],
    ["Kept by the log", event.isKept ? null : "no longer"],
  ]);
}

function verdict({ receiver, outcome, headline, steps, advice }) {
  return h("article", { class: "told" },
    h("h2", {}, receiverName(receiver)),
    h("p", { class: "verdict" }, outcomeState(outcome), " ", foreign(headline)),
    steps.length ? h("ol", { class: "steps" }, steps.map((step) =>
      h("li", {}, h("span", { class: "step-at" }, step.at ? atClock(step.at) : "–"),
        h("span", { class: "step-what" }, step.what), foreign(step.text, { class: "step-text" })))) : null,
    advice.length ? h("div", { class: "advice" }, h("h3", {}, "What to do"),
      advice.map((one) => h("div", {}, foreign(one.text), one.command ? [code(one.command), copyable(one.command, "")] : null))) : null,
  );
}

function receiverName({ kind, id, user, detail }) {
  const views = { subscription: "subscriptions", connection: "connections" };
  const name = foreign(id, { class: "mono" });
  return [
    `${kind[0].toUpperCase()}${kind.slice(1)} `,
    views[kind] ? link(name, place(views[kind], id)) : name,
    user ? [" of ", foreign(user)] : null,
    detail ? h("span", { class: "faint" }, " ", foreign(detail)) : null,
  ];
}
