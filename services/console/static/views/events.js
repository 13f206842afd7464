import { button, code, empty, h, link, place, replace, state } from "../dom.js";
import { eventItem } from "../event_item.js";
import { followEvents, newestEvents } from "../live.js";
import { field, input, problem } from "../parts.js";

export const title = "Events";

const ROWS_MAX = 200;
const WAITING_MAX = 200;
const SAID_EVERY_MS = 5000;
const FILTERS = [
  ["account", "Account", "id or name"],
  ["type", "Type", "ContactCard"],
  ["method", "Method", "ContactCard/set"],
];
const STATES = {
  connecting: ["none", "connecting"],
  live: ["good", "live"],
  waiting: ["bad", "waiting for NATS"],
  reconnecting: ["bad", "reconnecting"],
  paused: ["held", "paused"],
};

export function show(main, { heading, query, signal }) {
  const filter = Object.fromEntries(FILTERS.map(([name]) => [name, query.get(name) ?? ""]));
  const list = h("ol", { class: "events", "aria-label": "Events, newest first" });
  const status = h("span", { class: "live-state", role: "status" });
  const note = h("div", {});
  const pause = button("Pause", () => view.toggle(), { "aria-pressed": "false" });
  const view = new LiveList({ list, status, note, pause, filter, signal });
  replace(main,
    h("div", { class: "head" }, heading, status, h("div", { class: "actions" }, pause)),
    filters(filter),
    note,
    list,
  );
  view.start();
}

function filters(filter) {
  const submit = (event) => {
    event.preventDefault();
    const asked = Object.fromEntries(new FormData(event.target));
    location.hash = place("events", null, asked);
  };
  const isFiltered = Object.values(filter).some(Boolean);
  return h("form", { class: "filters", onsubmit: submit, "aria-label": "Filter" },
    FILTERS.map(([name, label, placeholder]) =>
      field(label, input(name, { value: filter[name], placeholder }))),
    h("div", { class: "actions" },
      h("button", {}, "Filter"),
      isFiltered ? link("Show all", place("events"), { class: "button quiet" }) : null,
    ),
  );
}

/** At most ROWS_MAX events, newest on top; while it is paused they wait, and are counted. */
class LiveList {
  constructor(parts) {
    Object.assign(this, parts);
    this.sequences = new Set();
    this.waiting = [];
    this.waitingCount = 0;
    this.unsaid = 0;
    this.connection = "connecting";
    this.isPaused = false;
  }

  start() {
    const said = setInterval(() => this.say(), SAID_EVERY_MS);
    this.signal.addEventListener("abort", () => clearInterval(said));
    followEvents(this.filter, this.signal, {
      event: (event) => this.take(event),
      dropped: (count) => this.tellDropped(count),
      state: (word) => this.connected(word),
    });
  }

  connected(word) {
    this.connection = word;
    this.showState();
    if (word === "live") this.fill();
  }

  /** What happened before the stream began, or while it was away. */
  async fill() {
    try {
      const { events } = await newestEvents(this.filter, this.signal);
      for (const event of [...events].reverse()) this.take(event);
      if (!this.sequences.size) replace(this.note, nothing(this.filter));
    } catch (error) {
      if (!this.signal.aborted && error.status !== 0) replace(this.note, problem(error));
    }
  }

  take(event) {
    const isKnown = this.waiting.some((one) => one.sequence === event.sequence);
    if (isKnown || this.sequences.has(event.sequence)) return;
    this.unsaid += 1;
    if (this.isPaused) {
      this.waiting.push(event);
      this.waitingCount += 1;
      if (this.waiting.length > WAITING_MAX) this.waiting.shift();
      this.showState();
    } else this.add(event);
  }

  add(event) {
    if (this.sequences.has(event.sequence)) return;
    if (!this.sequences.size) replace(this.note);
    this.sequences.add(event.sequence);
    const item = eventItem(event);
    const older = [...this.list.children].find((one) => Number(one.dataset.sequence) < event.sequence);
    this.list.insertBefore(item, older ?? null);
    while (this.list.children.length > ROWS_MAX) {
      const last = this.list.lastElementChild;
      this.sequences.delete(Number(last.dataset.sequence));
      last.remove();
    }
  }

  toggle() {
    this.isPaused = !this.isPaused;
    this.pause.setAttribute("aria-pressed", String(this.isPaused));
    this.pause.textContent = this.isPaused ? "Go on" : "Pause";
    if (!this.isPaused) {
      for (const event of this.waiting) this.add(event);
      this.waiting = [];
      this.waitingCount = 0;
    }
    this.showState();
  }

  showState() {
    const [kind, word] = STATES[this.isPaused ? "paused" : this.connection];
    const count = this.isPaused ? `, ${this.waitingCount} new` : "";
    replace(this.status, state(kind, word + count));
  }

  tellDropped(count) {
    replace(this.note, h("p", { class: "notice", role: "status" },
      `${count ?? "Some"} events came faster than they could be shown and are left out here; the log has them.`));
  }

  /** Not each event: who listens to the page is told now and then how many came. */
  say() {
    if (!this.unsaid || this.isPaused) return;
    document.getElementById("told").textContent = `${this.unsaid} new events`;
    this.unsaid = 0;
  }
}

function nothing(filter) {
  if (Object.values(filter).some(Boolean)) {
    return empty("No event fits this filter", "New ones appear here as soon as they are in the log.");
  }
  return h("div", {},
    empty("The log has no events yet", "They appear here as soon as something changes. To change something, add a contact as the demo user does, or append one event:"),
    code("tidings bench append --running"),
  );
}
