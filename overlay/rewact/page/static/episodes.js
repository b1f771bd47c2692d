// SPDX-License-Identifier: MIT
// The list of episodes.

import { server } from "./server.js";

const OUTCOMES = { success: ["✓", "success"], failure: ["✗", "failure"], unknown: ["", "outcome unknown"] };
const ODD = 3;
const ORDERS = {
  episode: (one, other) => one.episode - other.episode,
  disagreement: (one, other) => (other.disagreement ?? -1) - (one.disagreement ?? -1) || one.episode - other.episode,
  length: (one, other) => other.oddness - one.oddness || one.episode - other.episode,
};

function span(className, text, title = null) {
  const node = document.createElement("span");
  node.className = className;
  node.textContent = text;
  if (title) node.title = title;
  return node;
}

export class EpisodeList extends EventTarget {
  rows = new Map();
  #work = [];
  #items = new Map();
  #list;
  #task = "";
  #order = "work";
  #current = null;

  constructor(list) {
    super();
    this.#list = list;
    list.addEventListener("click", (event) => {
      const button = event.target.closest("button");
      if (button) this.dispatchEvent(new CustomEvent("open", { detail: Number(button.dataset.episode) }));
    });
  }

  /** All rows, in the order that saves work. */
  fill(rows) {
    this.#work = rows.map((row) => row.episode);
    this.rows = new Map(rows.map((row) => [row.episode, row]));
    this.#items = new Map(rows.map((row) => [row.episode, this.#item(row)]));
    this.#arrange();
  }

  /** Rows that changed; they stay where they are. */
  update(rows) {
    for (const row of rows) {
      if (!this.rows.has(row.episode)) continue;
      this.rows.set(row.episode, row);
      this.#describe(this.#items.get(row.episode).firstChild, row);
    }
  }

  arrange(order, task) {
    this.#order = order;
    this.#task = task;
    this.#arrange();
  }

  /** The episodes shown, from top to bottom. */
  get shown() {
    const rows = this.#work.map((episode) => this.rows.get(episode));
    if (ORDERS[this.#order]) rows.sort(ORDERS[this.#order]);
    return rows.filter((row) => !this.#task || row.task === this.#task).map((row) => row.episode);
  }

  select(episode) {
    this.#items.get(this.#current)?.firstChild.removeAttribute("aria-current");
    this.#current = episode;
    const item = this.#items.get(episode);
    item?.firstChild.setAttribute("aria-current", "true");
    item?.scrollIntoView({ block: "nearest" });
  }

  /** The episode `by` places further down, null past the ends; only unlabelled ones if asked for. */
  next(by, unlabelled = false) {
    const shown = this.shown;
    const at = shown.indexOf(this.#current);
    if (!unlabelled) return shown[at + by] ?? null;
    const after = [...shown.slice(at + 1), ...shown.slice(0, Math.max(0, at))];
    return after.find((episode) => !this.rows.get(episode).labelled) ?? null;
  }

  #arrange() {
    this.#list.replaceChildren(...this.shown.map((episode) => this.#items.get(episode)));
    this.select(this.#current);
  }

  #item(row) {
    const item = document.createElement("li");
    const button = document.createElement("button");
    button.type = "button";
    button.dataset.episode = row.episode;
    for (const which of ["first", "last"]) {
      const image = document.createElement("img");
      Object.assign(image, { loading: "lazy", decoding: "async", alt: "", src: server.thumbnail(row.episode, which) });
      button.append(image);
    }
    const words = document.createElement("span");
    words.className = "words";
    button.append(words);
    item.append(button);
    this.#describe(button, row);
    return item;
  }

  #describe(button, row) {
    const [mark, outcome] = OUTCOMES[row.outcome];
    const first = document.createElement("span");
    const number = document.createElement("b");
    number.textContent = `#${row.episode} `;
    first.append(number, span(`mark ${row.outcome}`, mark, outcome), span("frames", `${row.length} frames`));
    const source = row.labelled
      ? span("", row.keypoints ? `${row.keypoints} keypoint${row.keypoints === 1 ? "" : "s"}` : row.source)
      : span("todo", "○ to label", `labels: ${row.source ?? "none"}`);
    const second = document.createElement("span");
    second.append(document.createElement("br"), source);
    const notes = [];
    if (row.disagreement !== null) notes.push(`Δ ${row.disagreement.toFixed(2)}`);
    if (row.oddness >= ODD) notes.push("odd length");
    if (row.human) notes.push("human");
    const third = document.createElement("span");
    third.append(document.createElement("br"), span("differs", notes.join(" · ")));
    button.lastChild.replaceChildren(first, second, ...(notes.length ? [third] : []));
    const state = row.labelled ? `labelled, ${source.textContent}` : "to label";
    button.setAttribute(
      "aria-label",
      [`Episode ${row.episode}`, `${row.length} frames`, state, outcome, ...notes].join(", "),
    );
  }
}
