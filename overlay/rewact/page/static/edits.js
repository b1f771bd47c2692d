// SPDX-License-Identifier: MIT
// Every change is sent at once, in order. What the server has not confirmed is kept over a reload and sent again;
// what it refuses, because somebody else changed the episode, is not.

import { Away, server } from "./server.js";

const RETRY_MS = 1000;
const MERGE_MS = 800;

function kept(name) {
  try {
    return JSON.parse(sessionStorage.getItem(name)) ?? [];
  } catch {
    return [];
  }
}

/** Oldest entries go where the browser has no more room. */
function keep(name, entries) {
  for (let from = 0; from <= entries.length; from = 2 * from + 1) {
    try {
      sessionStorage.setItem(name, JSON.stringify(entries.slice(from)));
      return;
    } catch {
      continue;
    }
  }
}

export const same = (one, other) => JSON.stringify(one) === JSON.stringify(other);

export class Edits extends EventTarget {
  #waiting = kept("waiting");
  #done = kept("done");
  #undone = kept("undone");
  #sending = false;

  get waiting() {
    return this.#waiting.length;
  }

  /** The labels that an episode will have once all is saved; null where nothing waits. */
  expected(episode) {
    return this.#waiting.findLast((edit) => edit.episode === episode)?.labels ?? null;
  }

  /** Change the labels of an episode. Changes of the same `kind` in quick succession are undone as one. */
  change(episode, base, labels, kind = null) {
    if (same(base, labels)) return;
    const last = this.#done.at(-1);
    const now = Date.now();
    if (kind && last?.kind === kind && last.episode === episode && now - last.at < MERGE_MS) {
      last.labels = labels;
      last.at = now;
    } else {
      this.#done.push({ episode, base, labels, kind, at: now });
    }
    this.#undone = [];
    this.#send(episode, base, labels);
  }

  /** Take the last change back; returns the episode and its labels then, null if there is none. */
  undo() {
    const edit = this.#done.pop();
    if (!edit) return null;
    this.#undone.push(edit);
    this.#send(edit.episode, edit.labels, edit.base);
    return { episode: edit.episode, labels: edit.base };
  }

  redo() {
    const edit = this.#undone.pop();
    if (!edit) return null;
    this.#done.push({ ...edit, kind: null });
    this.#send(edit.episode, edit.base, edit.labels);
    return { episode: edit.episode, labels: edit.labels };
  }

  /** Send what a reload or a server that was away left over. */
  resume() {
    if (this.#waiting.length) this.#flush();
  }

  #send(episode, base, labels) {
    this.#waiting.push({ episode, base, labels });
    this.#keep();
    this.#flush();
  }

  /** Drop the waiting changes of an episode, and what cannot be undone as it starts from labels not there. */
  #forget(episode, conflict) {
    const others = (edit) => edit.episode !== episode;
    const refused = this.#waiting.filter((edit) => !others(edit));
    this.#waiting = this.#waiting.filter(others);
    this.#undone = this.#undone.filter(others);
    if (conflict) {
      this.#done = this.#done.filter(others);
      return;
    }
    for (const { base, labels } of refused.reverse()) {
      const at = this.#done.findLastIndex((edit) => !others(edit) && same(edit.labels, labels));
      if (at < 0) continue;
      this.#done[at].labels = base;
      if (same(this.#done[at].base, base)) this.#done.splice(at, 1);
    }
  }

  #keep() {
    keep("waiting", this.#waiting);
    keep("done", this.#done);
    keep("undone", this.#undone);
  }

  async #flush() {
    if (this.#sending) return;
    this.#sending = true;
    this.#say("waiting");
    while (this.#waiting.length) {
      const { episode, base, labels } = this.#waiting[0];
      try {
        const answer = await server.save(episode, base, labels);
        this.#waiting.shift();
        this.#keep();
        this.#say("saved", answer);
      } catch (error) {
        if (error instanceof Away) {
          this.#say("away");
          await new Promise((done) => setTimeout(done, RETRY_MS));
          continue;
        }
        const conflict = error.status === 409;
        this.#forget(episode, conflict);
        this.#keep();
        this.#say("refused", { episode, reason: error.message, conflict });
      }
    }
    this.#sending = false;
    this.#say("idle");
  }

  #say(type, detail = null) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }
}
