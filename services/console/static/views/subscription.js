import { get, part, post } from "../api.js";
import { button, copyable, empty, foreign, h, link, place, replace, state, whileBusy } from "../dom.js";
import { laneKind, laneWords, outcomeWords, typesWords } from "../lane_words.js";
import { confirmed, facts, keepLoaded, notice, problem, section, table } from "../parts.js";
import { ago } from "../times.js";

export const title = "Subscription";

const REFRESH_SECONDS = 2;
const DONE = {
  pause: "Paused: it is sent nothing until it is resumed; nothing is lost.",
  resume: "Resumed: what waits is sent now.",
  probe: "Tried now; the answer is shown below as soon as it is there.",
  resync: "It is told the newest state of everything.",
};

export function show(main, { heading, id, signal }) {
  const body = h("div", {});
  const said = h("div", {});
  const controls = h("div", { class: "actions" });
  const act = async (verb) => {
    await whileBusy([...controls.querySelectorAll("button")], async () => {
      try {
        await post(`subscriptions/${part(id)}/${verb}`, undefined, signal);
        replace(said, notice(DONE[verb]));
      } catch (error) {
        if (!signal.aborted) replace(said, problem(error));
      }
    });
    await loadNow();
  };
  replace(heading, "Subscription ", foreign(id, { class: "mono" }));
  replace(main, h("div", { class: "head" }, heading, controls), said, body);
  fillControls(controls, act, signal);
  const loadNow = keepLoaded(body, signal, REFRESH_SECONDS,
    () => get(`subscriptions/${part(id)}`, {}, signal),
    (lane) => {
      showPause(controls, lane.state !== "paused");
      update(body, lane);
    });
}

/** Who paused it by keyboard stands on what takes that back. */
function showPause(controls, isShown) {
  const pause = controls.querySelector("[data-verb=pause]");
  if (!isShown && document.activeElement === pause) controls.querySelector("[data-verb=resume]").focus();
  pause.hidden = !isShown;
}

function fillControls(controls, act, signal) {
  const resync = async () => {
    const yes = await confirmed({
      title: "Tell it everything again?",
      text: "It is sent the newest state of every account that it follows, as if it had never been told. Its client must read what that says.",
      action: "Resynchronise",
      signal,
    });
    if (yes !== null) await act("resync");
  };
  replace(controls,
    button("Resume", () => act("resume"), { "data-verb": "resume", class: "primary" }),
    button("Pause", () => act("pause"), { "data-verb": "pause" }),
    button("Try now", () => act("probe"), { "data-verb": "probe" }),
    button("Resynchronise …", resync, { "data-verb": "resync" }),
  );
}

function update(body, lane) {
  const attempts = lane.lastAttempts ?? [];
  replace(body,
    h("p", { class: "verdict" }, state(laneKind(lane), laneWords(lane, attempts.find((one) => one.kind === "push")))),
    facts([
      ["User", foreign(lane.user)],
      ["Id", copyable(lane.id)],
      ["Goes to", foreign(lane.origin ?? "–")],
      ["Types", foreign(typesWords(lane.types))],
      ["Told up to", [h("span", { class: "num" }, lane.cursor), lane.target > lane.cursor ? ` of ${lane.target}` : ""]],
      ["Behind since", lane.behindSince ? ago(lane.behindSince) : null],
      ["Failures in a row", lane.failures || null],
      ["Next try", lane.dueAt ? ago(lane.dueAt) : null],
      ["Least time between two", lane.windowMs ? `${lane.windowMs} ms, since it answered 429` : null],
      ["Encrypted", lane.isEncrypted ? "yes" : "no"],
      ["Device", foreign(lane.deviceClientId ?? "–")],
      ["Made", ago(lane.createdAt)],
      ["Verified", lane.verifiedAt ? ago(lane.verifiedAt) : "not yet"],
      ["Ends", ago(lane.endsAt)],
    ]),
    section("Last attempts",
      attempts.length
        ? table("The last requests to the endpoint, newest first", ATTEMPT_COLUMNS, attempts)
        : empty("It was never tried", "It is sent something as soon as something changes that it asked for.")),
    h("div", { class: "actions" },
      link("Explain the newest event …", place("explain", null, { subscription: lane.id }), { class: "button" }),
      link("Replay to it …", place("replay", null, { subscription: lane.id }), { class: "button" }),
      link("All of this user", place("subscriptions", null, { user: lane.user }), { class: "button quiet" }),
    ),
  );
}

const ATTEMPT_COLUMNS = [
  { label: "At", cell: (one) => ago(one.at) },
  { label: "Kind", cell: (one) => one.kind },
  { label: "Outcome", cell: (one) => state(one.outcome === "accepted" ? "good" : "bad", outcomeWords(one.outcome, one.status)) },
  { label: "Status", cell: (one) => one.status ?? "–", numeric: true },
  { label: "Took", cell: (one) => `${one.milliseconds} ms`, numeric: true },
  { label: "Up to", cell: (one) => one.cursor, numeric: true },
  { label: "Answer", cell: (one) => one.answer ? foreign(one.answer, { class: "answer mono" }) : h("span", { class: "faint" }, "–"), wide: true },
];
