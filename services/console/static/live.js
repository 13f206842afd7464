// The live stream of events, over reconnects; what was missed meanwhile is read from the log.

import { apiUrl, get } from "./api.js";

const AGAIN_MS_MIN = 1000;
const AGAIN_MS_MAX = 15_000;
const MISSED_MAX = 100;

/**
 * Calls `on.event(event)` for each, `on.dropped(count)` where the server had to leave some out
 * (null: it cannot say how many), and `on.state(word)`: connecting, live, waiting (the server
 * cannot read the log now), reconnecting. Ends with `signal`.
 */
export function followEvents(filter, signal, on) {
  let source = null;
  let timer;
  let wait = AGAIN_MS_MIN;

  const open = () => {
    source = new EventSource(apiUrl("events/stream", filter));
    source.addEventListener("open", () => {
      wait = AGAIN_MS_MIN;
      on.state("live");
    });
    source.addEventListener("event", (message) => on.event(JSON.parse(message.data)));
    source.addEventListener("dropped", (message) => on.dropped(JSON.parse(message.data).count));
    source.addEventListener("live", (message) => on.state(JSON.parse(message.data).live ? "live" : "waiting"));
    source.addEventListener("error", () => {
      on.state("reconnecting");
      if (source.readyState !== EventSource.CLOSED) return;
      timer = setTimeout(again, wait);
      wait = Math.min(2 * wait, AGAIN_MS_MAX);
    });
  };
  // A stream that was refused does not say why: what the session says is told to the application.
  const again = async () => {
    try {
      await get("events", { limit: 1 }, signal);
    } catch {
      // Told by now. The stream is opened anyway, until the view is left.
    }
    if (!signal.aborted) open();
  };
  signal.addEventListener("abort", () => {
    clearTimeout(timer);
    source?.close();
  });
  on.state("connecting");
  open();
}

/** Newest first. */
export function newestEvents(filter, signal) {
  return get("events", { ...filter, limit: MISSED_MAX }, signal);
}
