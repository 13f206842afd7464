// Task/get, Task/changes and Task/set (RFC 8620 sections 5.1 to 5.3).

import { randomBytes } from "node:crypto";

export const CAPABILITY = "urn:example:tasks";
export const TYPES = { Task: ["get", "changes", "set"] };
const CHANGES_MAX = 500;

export class MethodFailed extends Error {
  constructor(type, description) {
    super(description ?? type);
    this.answer = { type, ...(description === undefined ? {} : { description }) };
  }
}

export const stateOf = (modseq) => `t${modseq}`;

export const methodsOver = (journal) => ({
  "Task/get": (call) => get(journal, call),
  "Task/changes": (call) => changes(journal, call),
  "Task/set": (call) => set(journal, call),
});

function get(journal, call) {
  const { modseq, tasks } = journal.account(accountOf(call));
  const given = call.arguments.ids ?? null;
  if (given !== null && !isStrings(given)) throw new MethodFailed("invalidArguments", "ids");
  const ids = given?.map((id) => resolved(id, call.createdIds)) ?? living(tasks);
  const found = ids.filter((id) => isLiving(tasks.get(id)));
  return {
    arguments: {
      accountId: call.arguments.accountId,
      state: stateOf(modseq),
      list: found.map((id) => shown(id, tasks.get(id))),
      notFound: ids.filter((id) => !isLiving(tasks.get(id))),
    },
  };
}

function changes(journal, call) {
  const { modseq, tasks } = journal.account(accountOf(call));
  const { accountId, sinceState, maxChanges } = call.arguments;
  const since = /^t\d{1,15}$/.test(sinceState) ? Number(sinceState.slice(1)) : Infinity;
  if (since > modseq) throw new MethodFailed("cannotCalculateChanges");
  if (maxChanges != null && !(Number.isInteger(maxChanges) && maxChanges > 0)) {
    throw new MethodFailed("invalidArguments", "maxChanges is a positive integer.");
  }
  const all = [...tasks]
    .filter(([, task]) => task.modseq > since && !(task.created > since && task.isDestroyed))
    .sort(([, a], [, b]) => a.modseq - b.modseq);
  const some = all.slice(0, Math.min(maxChanges ?? CHANGES_MAX, CHANGES_MAX));
  const hasMoreChanges = some.length < all.length;
  const idsWhere = (test) => some.filter(([, task]) => test(task)).map(([id]) => id);
  return {
    arguments: {
      accountId,
      oldState: sinceState,
      newState: stateOf(hasMoreChanges ? some.at(-1)[1].modseq : modseq),
      hasMoreChanges,
      created: idsWhere((task) => task.created > since),
      updated: idsWhere((task) => task.created <= since && !task.isDestroyed),
      destroyed: idsWhere((task) => task.created <= since && task.isDestroyed),
    },
  };
}

// JavaScript runs this from its start to its end without anybody in between, so there is no lock.
function set(journal, call) {
  const accountId = accountOf(call, { toWrite: true });
  const account = journal.account(accountId);
  const { ifInState = null, create, update, destroy } = call.arguments;
  const before = account.modseq;
  if (ifInState !== null && ifInState !== stateOf(before)) throw new MethodFailed("stateMismatch");
  const tasks = new Map(account.tasks); // as they will be
  const committed = [];
  const put = (id, task) => {
    tasks.set(id, task);
    committed.push({ id, ...task });
  };
  const answer = { accountId, oldState: stateOf(before), created: {}, updated: {}, destroyed: [] };
  Object.assign(answer, { notCreated: {}, notUpdated: {}, notDestroyed: {} });
  const createdIds = {};
  for (const [key, given] of Object.entries(create ?? {})) {
    const wrong = wrongProperties(given);
    if (wrong.length > 0 || given.title === undefined) {
      answer.notCreated[key] = invalid(wrong.length > 0 ? wrong : ["title"]);
      continue;
    }
    const id = "t" + randomBytes(10).toString("hex");
    put(id, { title: given.title, isDone: given.isDone ?? false });
    answer.created[key] = { id, ...("isDone" in given ? {} : { isDone: false }) };
    createdIds[key] = id;
  }
  const known = { ...call.createdIds, ...createdIds };
  for (const [given, patch] of Object.entries(update ?? {})) {
    const id = resolved(given, known);
    const wrong = wrongProperties(patch);
    if (wrong.length > 0) answer.notUpdated[id] = invalid(wrong);
    else if (!isLiving(tasks.get(id))) answer.notUpdated[id] = { type: "notFound" };
    else {
      const { title, isDone } = { ...tasks.get(id), ...patch };
      put(id, { title, isDone });
      answer.updated[id] = null;
    }
  }
  for (const given of destroy ?? []) {
    const id = resolved(given, known);
    if (!isLiving(tasks.get(id))) answer.notDestroyed[id] = { type: "notFound" };
    else {
      put(id, { isDestroyed: true });
      answer.destroyed.push(id);
    }
  }
  if (committed.length > 0) journal.commit(accountId, committed);
  const { modseq } = journal.account(accountId);
  answer.newState = stateOf(modseq);
  const changed = modseq > before ? { [accountId]: { Task: [stateOf(modseq), modseq] } } : {};
  return { arguments: answer, createdIds, changed };
}

function accountOf(call, { toWrite = false } = {}) {
  const { accountId } = call.arguments;
  if (typeof accountId !== "string") throw new MethodFailed("invalidArguments", "accountId");
  const access = call.principal.accounts[accountId];
  if (access === undefined) throw new MethodFailed("accountNotFound");
  if (toWrite && access.readOnly) throw new MethodFailed("accountReadOnly");
  return accountId;
}

const resolved = (id, createdIds) => (id.startsWith("#") ? createdIds[id.slice(1)] ?? id : id);
const isLiving = (task) => task !== undefined && !task.isDestroyed;
const living = (tasks) => [...tasks.keys()].filter((id) => isLiving(tasks.get(id)));
const shown = (id, { title, isDone }) => ({ id, title, isDone });
const isStrings = (value) => Array.isArray(value) && value.every((id) => typeof id === "string");
const invalid = (properties) => ({ type: "invalidProperties", properties });

function wrongProperties(given) {
  const isRight = {
    title: (value) => typeof value === "string" && value.length > 0 && value.length <= 200,
    isDone: (value) => typeof value === "boolean",
  };
  return Object.keys(given).filter((name) => !(isRight[name]?.(given[name]) ?? false));
}
