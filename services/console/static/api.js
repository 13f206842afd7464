// The Console's HTTP API. Whoever calls is told by an ApiError what went wrong, in words to show.

const BASE = new URL("api/", document.baseURI);
const PATIENCE_MS = 30_000;

export class ApiError extends Error {
  /** `status` 0: the server could not be reached. */
  constructor(status, title, detail = "", retryAfter = null) {
    super(detail || title);
    this.status = status;
    this.title = title;
    this.detail = detail;
    this.retryAfter = retryAfter;
  }
}

/** Of which the application is told: the session ended, or the server is away. */
export const server = new EventTarget();
const say = (what) => server.dispatchEvent(new Event(what));

export function apiUrl(path, query = {}) {
  const url = new URL(path, BASE);
  for (const [name, value] of Object.entries(query)) {
    if (value !== null && value !== undefined && value !== "") url.searchParams.set(name, value);
  }
  return url;
}

export const part = (text) => encodeURIComponent(text);

export function get(path, query = {}, signal = undefined) {
  return call("GET", apiUrl(path, query), undefined, signal);
}

export function post(path, body = undefined, signal = undefined) {
  return call("POST", apiUrl(path), body, signal);
}

export function remove(path) {
  return call("DELETE", apiUrl(path));
}

async function call(method, url, body, signal) {
  const answer = await send(method, url, body, signal);
  return answer.status === 204 ? null : read(answer);
}

/** The lines of an answer as they come, each read as JSON. */
export async function* postLines(path, body, signal) {
  const answer = await send("POST", apiUrl(path), body, signal, null);
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    rest += value ?? "";
    const lines = rest.split("\n");
    rest = lines.pop();
    for (const line of lines) if (line.trim()) yield JSON.parse(line);
    if (done) {
      if (rest.trim()) yield JSON.parse(rest);
      return;
    }
  }
}

async function send(method, url, body, signal, patience = PATIENCE_MS) {
  const headers = { Accept: "application/json" };
  if (method !== "GET") headers["Tidings-Console"] = "1";
  if (body !== undefined) headers["Content-Type"] = "application/json";
  const signals = [signal, patience && AbortSignal.timeout(patience)].filter(Boolean);
  let answer;
  try {
    answer = await fetch(url, {
      method,
      headers,
      body: body === undefined ? undefined : JSON.stringify(body),
      signal: signals.length ? AbortSignal.any(signals) : undefined,
      cache: "no-store",
      redirect: "error",
    });
  } catch (error) {
    if (signal?.aborted) throw error;
    say("away");
    throw new ApiError(0, "The server does not answer", "It is tried again by itself.");
  }
  if (answer.ok) return answer;
  throw await refusal(answer, url);
}

async function refusal(answer, url) {
  let problem = {};
  try {
    problem = await answer.json();
  } catch {
    // Not of ours: a proxy's page, or nothing.
  }
  if (answer.status === 401 && !url.pathname.endsWith("/session")) say("ended");
  if (answer.status === 502 || answer.status === 504) say("away");
  const title = typeof problem.title === "string" ? problem.title : `The server answered ${answer.status}`;
  const detail = typeof problem.detail === "string" ? problem.detail : "";
  return new ApiError(answer.status, title, detail, answer.headers.get("Retry-After"));
}

async function read(answer) {
  try {
    return await answer.json();
  } catch {
    throw new ApiError(answer.status, "The answer cannot be read", "It is not JSON.");
  }
}
