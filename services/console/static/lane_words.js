// What a lane of a subscription does, in words; no elements, no requests.

import { secondsSince, span } from "./times.js";

const KINDS = { converged: "good", behind: "busy", failing: "bad", paused: "held", unverified: "none" };
const WORST_FIRST = ["failing", "unverified", "behind", "paused", "converged"];

const OUTCOMES = {
  accepted: "taken",
  gone: "404 or 410: the endpoint says that the subscription is no more",
  throttled: "429: the endpoint wants fewer",
  unavailable: "503 from the endpoint",
  too_large: "413: too large for the endpoint",
  unauthorized: "401 or 403: the endpoint does not take our token",
  redirected: "a redirection, which is never followed",
  refused: "the endpoint refused it (4xx)",
  server_error: "the endpoint failed (5xx)",
  dns_failed: "its host has no address",
  address_blocked: "its address is not allowed: nothing was sent",
  connect_failed: "nobody answers there",
  tls_failed: "TLS failed, such as by a certificate that does not hold",
  timed_out: "no answer in time",
  broken: "the connection broke, or what came was not HTTP",
  egress_failed: "this machine could not send; not the endpoint's fault",
};

export const laneKind = (lane) => KINDS[lane.state] ?? "none";

export function outcomeWords(outcome, status = null) {
  const words = OUTCOMES[outcome] ?? outcome ?? "no attempt yet";
  if (!status) return words;
  const isSaid = words.startsWith(String(status)) || outcome === "accepted";
  return isSaid ? words : `${status} from the endpoint`;
}

/** The worst first, and of those the ones that have been so for the longest. */
export function worstFirst(lanes) {
  const rank = (lane) => {
    const found = WORST_FIRST.indexOf(lane.state);
    return found < 0 ? WORST_FIRST.length : found;
  };
  const since = (lane) => lane.failingSince ?? lane.behindSince ?? "9";
  return [...lanes].sort((a, b) => rank(a) - rank(b) || since(a).localeCompare(since(b)));
}

/** "failing for 12 min: 500 from the endpoint; next try in 40 s" */
export function laneWords(lane, lastAttempt = null) {
  const next = lane.dueAt ? nextTry(lane.dueAt) : null;
  switch (lane.state) {
    case "failing": {
      const outcome = lastAttempt?.outcome ?? lane.lastOutcome;
      const why = outcomeWords(outcome, lastAttempt?.status);
      return joined(`failing for ${since(lane.failingSince ?? lane.behindSince)}: ${why}`, next ?? "not tried again by itself");
    }
    case "behind":
      return joined(`behind for ${since(lane.behindSince)}`, next);
    case "paused":
      return lane.behindSince ? `paused; ${since(lane.behindSince)} of changes wait for it` : "paused; nothing waits";
    case "unverified":
      return lane.verificationStartedAt
        ? "unverified: its client has not sent the verification code back"
        : "unverified: its verification was not sent yet";
    case "converged":
      return "told everything";
    default:
      return lane.state;
  }
}

const since = (at) => (at ? span(Math.round(secondsSince(at))) .replace(".0 s", " s") : "some time");

function nextTry(dueAt) {
  const left = -secondsSince(dueAt);
  return left < 1 ? "next try now" : `next try in ${span(Math.round(left)).replace(".0 s", " s")}`;
}

const joined = (...words) => words.filter(Boolean).join("; ");

export const typesWords = (types) => (types === null || types === undefined ? "all" : types.join(", ") || "none");
