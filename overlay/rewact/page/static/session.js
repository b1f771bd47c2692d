// SPDX-License-Identifier: MIT
// How many episodes this session labelled, and how long each took; it lives as long as the tab.

const IDLE_MS = 20000;

export class Session {
  #state = { seconds: 0, episodes: [], last: null };
  #moved = performance.now();
  #counted = performance.now();

  constructor() {
    try {
      this.#state = { ...this.#state, ...JSON.parse(sessionStorage.getItem("session")) };
    } catch {
      // it starts from nothing
    }
    for (const type of ["keydown", "pointerdown", "pointermove"]) {
      addEventListener(type, () => this.#count(), { capture: true, passive: true });
    }
  }

  /** Count the time since the last sign of life, unless somebody was away. */
  #count() {
    const now = performance.now();
    if (now - this.#moved < IDLE_MS) this.#state.seconds += (now - this.#counted) / 1000;
    this.#moved = this.#counted = now;
  }

  labelled(episode, keypoints, length) {
    this.#count();
    if (!this.#state.episodes.includes(episode)) this.#state.episodes.push(episode);
    if (keypoints.length) this.#state.last = { episode, keypoints, length };
    sessionStorage.setItem("session", JSON.stringify(this.#state));
  }

  /** The keypoints that were set last, with the length of their episode; null before any. */
  get last() {
    return this.#state.last;
  }

  describe() {
    const n = this.#state.episodes.length;
    if (!n) return "";
    return `${n} in this tab, ${Math.max(1, Math.round(this.#state.seconds / n))} s each`;
  }
}
