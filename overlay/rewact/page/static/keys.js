// SPDX-License-Identifier: MIT
// The keys of the page: one list, from which they are read and the overlay is drawn.

const digits = Array.from({ length: 10 }, (_, digit) => [String(digit), "reward", digit / 10]);

// Of each key: how the browser names it, with the modifiers that matter before it; what it does; with what.
export const KEYS = [
  {
    title: "Watch",
    keys: [
      { shown: "Space", does: "play, pause", on: [[" ", "play"]] },
      { shown: "← →", does: "one frame back, on", on: [["ArrowLeft", "step", -1], ["ArrowRight", "step", 1]] },
      { shown: "Shift ← →", does: "ten frames", on: [["Shift+ArrowLeft", "step", -10], ["Shift+ArrowRight", "step", 10]] },
      { shown: "Home End", does: "first, last frame", on: [["Home", "seek", 0], ["End", "seek", Infinity]] },
      { shown: "- +", does: "slower, faster", on: [["-", "speed", -1], ["+", "speed", 1], ["=", "speed", 1]] },
      { shown: "l", does: "loop", on: [["l", "loop"]] },
    ],
  },
  {
    title: "Reward",
    keys: [
      { shown: "0 … 9", does: "keypoint of 0.0 … 0.9 here", on: digits },
      { shown: "Enter", does: "keypoint of 1.0 here", on: [["Enter", "reward", 1]] },
      { shown: "k", does: "keypoint on the curve here", on: [["k", "reward", null]] },
      { shown: "↑ ↓", does: "keypoint here up, down by 0.01", on: [["ArrowUp", "raise", 0.01], ["ArrowDown", "raise", -0.01]] },
      { shown: "Shift ↑ ↓", does: "by 0.1", on: [["Shift+ArrowUp", "raise", 0.1], ["Shift+ArrowDown", "raise", -0.1]] },
      { shown: ", .", does: "keypoint here earlier, later", on: [[",", "shift", -1], [".", "shift", 1]] },
      { shown: "[ ]", does: "to the keypoint before, after", on: [["[", "hop", -1], ["]", "hop", 1]] },
      { shown: "Delete x", does: "delete the keypoint here", on: [["Delete", "remove"], ["Backspace", "remove"], ["x", "remove"]] },
      { shown: "Shift x", does: "delete all keypoints", on: [["Shift+X", "clear"]] },
      { shown: "c", does: "copy the last episode's keypoints", on: [["c", "copy"]] },
      { shown: "m", does: "take the model's curve", on: [["m", "take"]] },
    ],
  },
  {
    title: "Outcome and control",
    keys: [
      { shown: "s f u", does: "success, failure, unknown", on: [["s", "outcome", "success"], ["f", "outcome", "failure"], ["u", "outcome", "unknown"]] },
      { shown: "h", does: "human control from here; again: to here", on: [["h", "control", "human"]] },
      { shown: "p", does: "policy control likewise", on: [["p", "control", "policy"]] },
      { shown: "Shift h", does: "delete the span here", on: [["Shift+H", "uncontrol"]] },
    ],
  },
  {
    title: "Episodes",
    keys: [
      { shown: "n", does: "next unlabelled episode", on: [["n", "next"]] },
      { shown: "j J", does: "episode below, above", on: [["j", "episode", 1], ["Shift+J", "episode", -1]] },
      { shown: "o", does: "next order of the list", on: [["o", "order"]] },
      { shown: "t", does: "choose a task", on: [["t", "task"]] },
    ],
  },
  {
    title: "All",
    keys: [
      { shown: "z y", does: "undo, redo", on: [["z", "undo"], ["Control+z", "undo"], ["y", "redo"], ["Control+y", "redo"], ["Shift+Z", "redo"], ["Control+Shift+Z", "redo"]] },
      { shown: "v", does: "summary of all labels", on: [["v", "summary"]] },
      { shown: "?", does: "these keys", on: [["?", "help"]] },
    ],
  },
];

const ACTIONS = new Map(KEYS.flatMap(({ keys }) => keys.flatMap(({ on }) => on)).map(([key, ...action]) => [key, action]));

/** The action and its argument that a key stands for, null if it is none of the page's. */
export function actionOf(event) {
  if (event.altKey) return null;
  const isLetter = /^[a-z]$/i.test(event.key);
  const shift = event.shiftKey && (isLetter || event.key.startsWith("Arrow"));
  // A letter typed with caps lock on is that letter.
  const key = isLetter ? (shift ? event.key.toUpperCase() : event.key.toLowerCase()) : event.key;
  const control = event.ctrlKey || event.metaKey;
  return ACTIONS.get(`${control ? "Control+" : ""}${shift ? "Shift+" : ""}${key}`) ?? null;
}

/** The overlay's lists of keys. */
export function drawKeys(container) {
  for (const { title, keys } of KEYS) {
    const section = document.createElement("section");
    const heading = document.createElement("h3");
    heading.textContent = title;
    const list = document.createElement("dl");
    for (const { shown, does } of keys) {
      const term = document.createElement("dt");
      for (const part of shown.split(" ")) {
        const key = part === "…" ? document.createElement("span") : document.createElement("kbd");
        key.textContent = part;
        term.append(key, " ");
      }
      const text = document.createElement("dd");
      text.textContent = does;
      list.append(term, text);
    }
    section.append(heading, list);
    container.append(section);
  }
}
