// `node tasks.js`: serves tasks until SIGTERM or SIGINT. See README.md.

import { connect, headers } from "nats";

import { Journal } from "./journal.js";
import { CAPABILITY, MethodFailed, TYPES, methodsOver, stateOf } from "./methods.js";

const CONTRACT = 1;
const { TASKS_NATS_URL, TASKS_TOKEN, TASKS_JOURNAL = "tasks.jsonl" } = process.env;

const { username, password, host } = new URL(TASKS_NATS_URL);
const nats = await connect({
  servers: host,
  // Answers come to _INBOX.<user>, which a deployment keeps from other users (nats/access.conf).
  ...(username === "" ? {} : { user: username, pass: password, inboxPrefix: `_INBOX.${username}` }),
  name: "tasks",
  maxReconnectAttempts: -1,
  reconnectTimeWait: 250,
  pingInterval: 5000,
});
const journal = new Journal(TASKS_JOURNAL);
const told = new Map(); // account -> modseq that the log is known to have

const service = await nats.services.add({
  name: CAPABILITY.replace(/[^A-Za-z0-9-]/g, "_"),
  version: "1.0.0",
  metadata: {
    "tidings.contract": String(CONTRACT),
    "tidings.capability": CAPABILITY,
    "tidings.session": "{}",
    "tidings.account": JSON.stringify({ maxTitleLength: 200 }),
    "tidings.types": JSON.stringify(TYPES),
  },
});
for (const [method, handle] of Object.entries(methodsOver(journal))) {
  service.addEndpoint(method.replace("/", "-"), {
    subject: `tidings.method.${method.replace("/", ".")}`,
    handler: (fault, message) => (fault ? console.error(fault) : answer(message, method, handle)),
  });
}
const telling = setInterval(tellUntold, 500);
let isTelling = false;
console.log("tasks are served");

for (const signal of ["SIGTERM", "SIGINT"]) {
  process.once(signal, async () => {
    clearInterval(telling);
    await service.stop(); // drains: calls that have arrived are answered
    await nats.drain();
    journal.close();
  });
}

function answer(message, method, handle) {
  try {
    const call = message.json();
    if (call.version !== CONTRACT) {
      throw new MethodFailed("serverUnavailable", "Of another version of the contract.");
    }
    message.respond(JSON.stringify({ name: method, ...handle(call) }));
  } catch (error) {
    if (error instanceof MethodFailed) {
      message.respond(JSON.stringify({ name: "error", arguments: error.answer }));
    } else {
      console.error(error);
      message.respondError(500, "a fault of the service, which its log has");
    }
  }
}

// What a call changed is in its answer. If we died before it was sent, or nobody heard it, this tells.
async function tellUntold() {
  const untold = [...journal.newest()].filter(([id, modseq]) => told.get(id) !== modseq);
  if (isTelling || untold.length === 0) return;
  isTelling = true;
  try {
    const of = (part) => Object.fromEntries(untold.map(([id, n]) => [id, { Task: part(n) }]));
    const body = { "@type": "StateChange", changed: of(stateOf), order: of((modseq) => modseq) };
    const credential = headers();
    credential.set("Authorization", `Bearer ${TASKS_TOKEN}`);
    const reply = await nats.request("tidings.append", JSON.stringify(body), {
      timeout: 10_000,
      headers: credential,
    });
    if (reply.headers?.has("Nats-Service-Error-Code")) throw new Error(reply.string());
    for (const [id, modseq] of untold) told.set(id, modseq);
  } catch (error) {
    console.error(`not told yet: ${error.message}`);
  } finally {
    isTelling = false;
  }
}
