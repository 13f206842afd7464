// Tasks in a file: each line is one committed change of one account. It is the outbox, too: what is
// in it is told to the log again after a start, which changes nothing where the log has it.

import {
  closeSync,
  existsSync,
  fsyncSync,
  ftruncateSync,
  openSync,
  readFileSync,
  writeSync,
} from "node:fs";

export class Journal {
  #accounts = new Map(); // id -> { modseq, tasks: Map(id -> {title, isDone, created, modseq}) }
  #file;

  constructor(path) {
    const written = existsSync(path) ? readFileSync(path) : Buffer.alloc(0);
    const whole = written.subarray(0, written.lastIndexOf("\n") + 1);
    for (const line of whole.toString().split("\n").slice(0, -1)) this.#apply(JSON.parse(line));
    this.#file = openSync(path, "a");
    ftruncateSync(this.#file, whole.length); // a line that the process died over never committed
  }

  account(id) {
    return this.#accounts.get(id) ?? { modseq: 0, tasks: new Map() };
  }

  // Account -> newest modseq.
  newest() {
    return new Map([...this.#accounts].map(([id, account]) => [id, account.modseq]));
  }

  // `changes`: [{id, title, isDone}], or [{id, isDestroyed: true}]. On disk when it returns.
  commit(accountId, changes) {
    const entry = { accountId, modseq: this.account(accountId).modseq, changes };
    writeSync(this.#file, JSON.stringify(entry) + "\n");
    fsyncSync(this.#file);
    this.#apply(entry);
  }

  close() {
    closeSync(this.#file);
  }

  #apply({ accountId, modseq, changes }) {
    const account = this.account(accountId);
    this.#accounts.set(accountId, account);
    account.modseq = modseq;
    for (const { id, ...task } of changes) {
      account.modseq += 1;
      const created = account.tasks.get(id)?.created ?? account.modseq;
      account.tasks.set(id, { ...task, created, modseq: account.modseq });
    }
  }
}
