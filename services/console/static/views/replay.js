import { postLines } from "../api.js";
import { button, copyable, h, replace, state } from "../dom.js";
import { choice, confirmed, field, input, problem } from "../parts.js";

export const title = "Replay";

const RANGE = [
  ["account", "Account", "Id or name; empty: all."],
  ["types", "Types", "Separated by commas; empty: all."],
  ["after", "After cursor", null],
  ["before", "Before cursor", null],
  ["since", "Since", "Such as 2026-01-31T12:00:00Z or 2h."],
  ["until", "Until", null],
];
const SPEEDS = [["full", "as fast as it is taken"], ["original", "as it happened"], ["10", "ten times as fast"], ["100", "a hundred times as fast"]];

export function show(main, { heading, query, signal }) {
  const output = h("div", { class: "replayed", "aria-live": "polite" });
  const really = h("input", { type: "checkbox", name: "really", id: "f-really" });
  const form = h("form", { class: "replay" },
    h("fieldset", {}, h("legend", {}, "What"),
      RANGE.map(([name, label, hint]) => field(label, input(name, { value: query.get(name) ?? "" }), hint))),
    h("fieldset", {}, h("legend", {}, "To whom"),
      field("Subscription", input("subscription", { required: true, value: query.get("subscription") ?? "" }), "Its id. Its lane is not touched: a replay is besides it."),
      field("Speed", choice("speed", SPEEDS, "full")),
      h("div", { class: "field check" }, really, h("label", { for: "f-really" }, "Really send, also to an endpoint of somebody else")),
    ),
    h("div", { class: "actions" },
      h("button", { name: "how", value: "dry", class: "primary" }, "Count only"),
      h("button", { name: "how", value: "send" }, "Send …")),
  );
  const run = new Run(form, output, signal);
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const isDry = event.submitter?.value !== "send";
    const asked = question(new FormData(form), really.checked, isDry);
    if (isDry || (await isSure(asked, signal))) await run.start(asked, event.submitter);
  });
  replace(main,
    h("div", { class: "head" }, heading, h("p", { class: "lead" }, "Send what the log says again, to a webhook.")),
    form,
    output,
  );
}

async function isSure(asked, signal) {
  const yes = await confirmed({
    title: "Send it again?",
    text: `Subscription ${asked.subscription} is sent old states of the log, one message after the other. Count first, if you do not know how many.`,
    action: "Send",
    signal,
  });
  return yes !== null;
}

/** Without what was left empty. */
function question(form, really, dryRun) {
  const asked = {};
  for (const [name] of [...RANGE, ["subscription"], ["speed"]]) {
    const value = form.get(name).trim();
    if (value) asked[name] = value;
  }
  if (asked.types) asked.types = asked.types.split(",").map((one) => one.trim()).filter(Boolean);
  return { ...asked, really, dryRun };
}

/** One at a time, which can be stopped, and which leaving the view stops. */
class Run {
  constructor(form, output, signal) {
    this.form = form;
    this.output = output;
    this.signal = signal;
  }

  /** `begun` has the focus again when Stop, which may have it, is gone. */
  async start(asked, begun) {
    const stop = new AbortController();
    const onLeave = () => stop.abort();
    this.signal.addEventListener("abort", onLeave);
    for (const one of this.form.querySelectorAll("button")) one.disabled = true;
    const told = h("div", {});
    const stopping = h("div", { class: "actions" }, button("Stop", () => stop.abort()));
    replace(this.output, told, stopping);
    let last = { sent: 0 };
    tell(told, "busy", asked.dryRun ? "counting" : "sending", last);
    try {
      for await (const line of postLines("replays", asked, stop.signal)) {
        if (line.error) throw { title: "The replay stopped", detail: `${words(line.error)} ${last.sent} had been sent.` };
        last = line;
        if (line.done) tell(told, "good", asked.dryRun ? "would be sent" : "sent", line);
        else tell(told, "busy", asked.dryRun ? "counting" : "sending", line);
      }
      if (!last.done) throw { title: "The replay was cut short", detail: `${last.sent} had been sent.` };
    } catch (error) {
      if (stop.signal.aborted) tell(told, "held", "stopped", last);
      else replace(told, problem(error));
    } finally {
      this.signal.removeEventListener("abort", onLeave);
      for (const one of this.form.querySelectorAll("button")) one.disabled = false;
      const hasFocus = stopping.contains(document.activeElement);
      stopping.remove();
      if (hasFocus) begun?.focus();
    }
  }
}

function tell(told, kind, word, { sent, cursor }) {
  const count = `${(sent ?? 0).toLocaleString("en")} event${sent === 1 ? "" : "s"}`;
  replace(told,
    h("p", { class: "verdict" }, state(kind, `${count} ${word}`)),
    cursor ? h("p", {}, "Up to ", copyable(cursor)) : null);
}

const words = (error) => (typeof error === "string" ? error : (error.detail ?? error.title ?? "It failed."));
