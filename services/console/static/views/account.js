import { button, copyable, empty, foreign, h, link, place, replace, whileBusy } from "../dom.js";
import { eventItem } from "../event_item.js";
import { facts, field, input, keepLoaded, problem, section, table } from "../parts.js";
import { get, part } from "../api.js";

export const title = "Account";

const REFRESH_SECONDS = 5;
const PAGE = 50;

export function show(main, { heading, id, signal }) {
  if (id === null) {
    replace(main, heading, search());
    return;
  }
  const top = h("div", {});
  const timeline = new Timeline(id, signal);
  replace(main,
    h("div", { class: "head" }, heading,
      h("div", { class: "actions" }, link("Live events", place("events", null, { account: id }), { class: "button" }))),
    top,
    section("Timeline", timeline.note, timeline.list, timeline.more),
  );
  keepLoaded(top, signal, REFRESH_SECONDS, () => get(`accounts/${part(id)}`, { events: 0 }, signal), (account) => {
    replace(heading, "Account ", foreign(account.name ?? account.id));
    replace(top, summary(account), section("Who may see it", grants(account.grants ?? [])));
  });
  timeline.load();
}

function search() {
  const go = (event) => {
    event.preventDefault();
    const asked = new FormData(event.target).get("account").trim();
    if (asked) location.hash = place("accounts", asked);
  };
  return h("form", { onsubmit: go, class: "filters" },
    field("Account", input("account", { required: true }), "Its id or its name."),
    h("div", { class: "actions" }, h("button", { class: "primary" }, "Show")));
}

function summary(account) {
  const states = Object.entries(account.states ?? {});
  return facts([
    ["Id", copyable(account.id)],
    ["States now", states.length
      ? h("span", { class: "changes" }, states.map(([type, at]) =>
          h("span", { class: "change" }, h("bdi", { class: "change-type" }, type), h("bdi", { class: "change-state" }, stateText(at)))))
      : h("span", { class: "faint" }, "nothing was ever changed")],
  ]);
}

const stateText = (value) => (value !== null && typeof value === "object" ? value.state ?? "–" : value);

function grants(rows) {
  if (!rows.length) return empty("Nobody has a grant for it");
  return table("Who may see this account", [
    { label: "User", cell: (one) => foreign(one.userName) },
    { label: "Role", cell: (one) => one.role },
    { label: "Told of changes", cell: (one) => (one.isTold ? "yes" : "no: not subscribed") },
  ], rows);
}

/** Newest first, older ones by page. */
class Timeline {
  constructor(id, signal) {
    this.id = id;
    this.signal = signal;
    this.next = null;
    this.list = h("ol", { class: "events", "aria-label": "Events of the account, newest first" });
    this.note = h("div", {});
    this.more = button("Older events", () => this.load());
    this.more.hidden = true;
  }

  async load() {
    await whileBusy([this.more], async () => {
      try {
        await this.loadPage();
      } catch (error) {
        if (this.signal.aborted) return;
        if (error.status === 404) this.list.closest("section").hidden = true; // said above
        else replace(this.note, problem(error));
      }
    });
  }

  async loadPage() {
    const asked = { account: this.id, before: this.next, limit: PAGE };
    const { events, next } = await get("events", asked, this.signal);
    this.list.append(...events.map((event) => eventItem(event, { withAccount: false })));
    this.next = next;
    this.more.hidden = next === null || next === undefined;
    replace(this.note, this.list.firstChild ? null : empty("The log has no events of it", "Those older than the log keeps are gone; their effect is in the states above."));
  }
}
