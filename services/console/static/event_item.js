// One event: a line, and what is known of its cause when it is opened.

import { copyable, foreign, h, link, place } from "./dom.js";
import { changes, facts } from "./parts.js";
import { atClock } from "./times.js";

export function eventItem(event, { withAccount = true } = {}) {
  const cause = event.cause ?? {};
  const who = event.accountName ?? event.account;
  const line = h("summary", { class: withAccount ? "event-line" : "event-line event-line-short" },
    h("span", { class: "event-at" }, atClock(event.at)),
    withAccount ? foreign(who, { class: "event-account", title: event.account }) : null,
    h("span", { class: "event-changed" }, event.removed ? h("strong", {}, "account removed") : changes(event.changed)),
    h("span", { class: "event-cause" },
      cause.method ? foreign(cause.method) : h("span", { class: "faint" }, "no cause given"),
      cause.principal ? [" by ", foreign(cause.principal)] : null),
    h("span", { class: "event-sequence num mono", title: "Its place in the log" }, event.sequence),
  );
  const details = h("details", {}, line);
  details.addEventListener("toggle", () => {
    if (details.open && details.children.length === 1) details.append(more(event, cause));
  });
  return h("li", { "data-sequence": event.sequence }, details);
}

function more(event, cause) {
  return h("div", { class: "event-more" },
    facts([
      ["At", event.at],
      ["Account", [event.accountName ? [foreign(event.accountName), " "] : null, copyable(event.account)]],
      ["Cursor", copyable(event.cursor)],
      ["Method", cause.method ? foreign(cause.method) : null],
      ["By", cause.principal ? foreign(cause.principal) : null],
      ["Request", cause.requestId ? copyable(cause.requestId) : null],
      ["Trace", cause.traceparent ? copyable(cause.traceparent) : null],
      ["Other traces", cause.links?.length ? cause.links.map((one) => copyable(one)) : null],
    ]),
    h("div", { class: "actions" },
      link("Explain", place("explain", null, { event: event.cursor }), { class: "button" }),
      link("Account timeline", place("accounts", event.account), { class: "button" }),
      link("Replay from here", place("replay", null, { after: event.cursor, account: event.account }), { class: "button quiet" }),
    ),
  );
}
