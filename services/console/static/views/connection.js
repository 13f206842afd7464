import { get, part, post } from "../api.js";
import { connectionKind, connectionWords, counted, momentWords, shortCursor } from "../connection_words.js";
import { button, copyable, empty, foreign, h, link, place, replace, state } from "../dom.js";
import { changes, confirmed, facts, keepLoaded, notice, problem, section, table, tag } from "../parts.js";
import { ago, atClock } from "../times.js";

export const title = "Connection";

const REFRESH_SECONDS = 2;

export function show(main, { heading, id, signal }) {
  const body = h("div", {});
  const said = h("div", {});
  const controls = h("div", { class: "actions" });
  const act = async (verb, sent, done) => {
    try {
      await post(`connections/${part(id)}/${verb}`, sent, signal);
      replace(said, notice(done));
    } catch (error) {
      if (!signal.aborted) replace(said, problem(error));
    }
    await loadNow();
  };
  replace(heading, "Connection ", foreign(id, { class: "mono" }));
  replace(main, h("div", { class: "head" }, heading, controls), said, body);
  const loadNow = keepLoaded(body, signal, REFRESH_SECONDS,
    () => get(`connections/${part(id)}`, {}, signal),
    (one) => {
      if (one.endedAt) replace(controls);
      else if (!controls.firstChild) fillControls(controls, act, signal);
      update(body, one);
    });
}

function fillControls(controls, act, signal) {
  const close = async () => {
    const reason = await confirmed({
      title: "Close this connection?",
      text: "Its client may come again at once. To keep it out, revoke its token.",
      action: "Close it",
      signal,
      reason: "Reason, for the log",
    });
    if (reason !== null) await act("close", { reason }, "It is closed.");
  };
  const resync = async () => {
    const yes = await confirmed({
      title: "Tell it everything again?",
      text: "It joins again, and is told the newest state of everything.",
      action: "Resynchronise",
      signal,
    });
    if (yes !== null) await act("resync", undefined, "It is told the newest state of everything.");
  };
  replace(controls, button("Resynchronise …", resync), button("Close …", close));
}

function update(body, one) {
  replace(body,
    h("p", { class: "verdict" }, state(connectionKind(one), connectionWords(one))),
    facts([
      ["User", foreign(one.userName || one.user)],
      ["User id", copyable(one.user)],
      ["Token", copyable(one.credential)],
      ["Kind", one.transport],
      ["From", foreign(one.address || "–", { class: "mono" })],
      ["Opened", ago(one.openedAt)],
      ["Ended", one.endedAt ? [ago(one.endedAt), `: ${one.endReason ?? ""}`, one.endedBy ? [" by ", foreign(one.endedBy)] : null] : null],
      ["Types", types(one)],
      ["Joined", one.joinedAt ? [ago(one.joinedAt), one.outcome ? `, ${one.outcome}` : "", one.missed ? `; ${counted(one.missed, "state")} told at once` : ""] : "not yet"],
      ["Sent", counted(one.messages, "message")],
      ["Last sent", one.toldAt ? ago(one.toldAt) : "nothing yet"],
      ["Seen up to", one.cursor ? copyable(one.cursor, shortCursor(one.cursor)) : "–"],
      ["Merged", one.merged ? counted(one.merged, "change") : null],
      ["Of no interest to it", one.filtered ? counted(one.filtered, "change") : null],
      ["Waiting", one.pending ? `${counted(one.pending, "state")}${one.pendingBecause ? `: ${one.pendingBecause}` : ""}` : null],
      ["Ping", one.pingSeconds ? `every ${one.pingSeconds} s` : "none"],
      ["Gateway", foreign(one.gateway, { class: "mono" })],
    ]),
    section(`Accounts (${one.accountCount})`, accounts(one)),
    section("Last moments", moments(one.moments ?? [])),
    h("div", { class: "actions" },
      link("Explain the newest event …", place("explain", null, { connection: one.id }), { class: "button" }),
      link("All of this user", place("connections", null, { user: one.user }), { class: "button quiet" })),
  );
}

function types(one) {
  if (!one.types) return "all";
  const more = one.typeCount - one.types.length;
  return [one.types.map(tag), one.types.length ? null : "none", more > 0 ? ` and ${more} more` : null];
}

function accounts(one) {
  if (!one.accounts?.length) return h("p", { class: "faint" }, "It listens to none.");
  const more = one.accountCount - one.accounts.length;
  return h("p", { class: "ids" },
    one.accounts.map((id) => [link(foreign(id, { class: "mono" }), place("accounts", id)), " "]),
    more > 0 ? `and ${more} more` : null);
}

function moments(all) {
  if (!all.length) return empty("Nothing has happened on it yet");
  return table("The last moments, newest first", [
    { label: "At", cell: (one) => atClock(one.at) },
    { label: "What", cell: (one) => one.kind },
    { label: "Told", cell: told, wide: true },
    { label: "Up to", cell: (one) => (one.cursor ? h("span", { class: "mono", title: one.cursor }, shortCursor(one.cursor)) : "–") },
  ], [...all].reverse());
}

function told(moment) {
  const states = Object.entries(moment.changed ?? {}).map(([id, changed]) =>
    h("div", {}, link(foreign(id, { class: "mono" }), place("accounts", id)), " ", changes(changed)));
  const words = momentWords(moment);
  return h("div", {}, states, words ? foreign(words) : null);
}
