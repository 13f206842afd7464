// What a connection does, in words; no elements, no requests.

import { secondsSince, span } from "./times.js";

export function connectionKind(one) {
  if (one.endedAt) return "none";
  if (one.stalledSeconds !== null && one.stalledSeconds !== undefined) return "bad";
  if (!one.isListening) return "held";
  return one.pending ? "busy" : "good";
}

export function connectionWords(one) {
  const pending = one.pending ? `; ${counted(one.pending, "state")} wait` : "";
  if (one.endedAt) return `ended ${span(secondsSince(one.endedAt))} ago: ${one.endReason ?? "unknown"}${pending}`;
  if (one.stalledSeconds !== null && one.stalledSeconds !== undefined) {
    return `stalled for ${span(one.stalledSeconds)}: its peer takes nothing${pending}`;
  }
  if (!one.isListening) return one.transport === "websocket" ? "push is not enabled" : "joining";
  return one.pending ? `${counted(one.pending, "state")} wait` : "told everything";
}

export function counted(number, noun) {
  return `${number.toLocaleString("en")} ${noun}${number === 1 ? "" : "s"}`;
}

/** What a moment was about, beside the states that it told. */
export function momentWords(moment) {
  return [
    moment.merged ? `${counted(moment.merged, "change")} merged` : null,
    moment.count > 1 ? `${moment.count} times, the last:` : null,
    moment.detail,
    moment.states ? `${counted(moment.states, "state")} told at once` : null,
    moment.octets ? `${moment.octets.toLocaleString("en")} octets` : null,
    moment.isCut ? "shortened here" : null,
  ].filter(Boolean).join(" · ");
}

/** Of a cursor only the place in the log, which other views show, too. */
export function shortCursor(cursor) {
  return /\.(\d+)$/.exec(cursor)?.[1] ?? cursor;
}
