// SPDX-License-Identifier: MIT
// The reward curve of an episode, on the axis of its frames. The server computes all curves.

const LEFT = 54;
const RIGHT = 18;
const TOP = 36;
const LANE = 18;
const GAP = 10;
const BOTTOM = 22 + GAP + LANE;

function element(name, attributes = {}, text = null) {
  const node = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  if (text !== null) node.textContent = text;
  return node;
}

export class Chart extends EventTarget {
  #svg = element("svg", { tabindex: 0, role: "slider", "aria-label": "Frame", "aria-valuemin": 0 });
  #still = element("g");
  #moving = element("g");
  #episode = null;
  #frame = 0;
  #drag = null;
  #open = null;

  constructor(container) {
    super();
    this.#svg.append(this.#still, this.#moving);
    container.append(this.#svg);
    new ResizeObserver(() => this.draw()).observe(container);
    this.#svg.addEventListener("pointerdown", (event) => this.#press(event));
    this.#svg.addEventListener("pointermove", (event) => this.#move(event));
    this.#svg.addEventListener("pointerup", () => this.#release());
    this.#svg.addEventListener("pointercancel", () => this.#release());
    this.#svg.addEventListener("dblclick", (event) => {
      const { frame, reward } = this.#place(event);
      this.#say("set", { frame, reward });
    });
  }

  /** `episode` has labels, curve, drops, prediction, lower, upper, length, fps and whether the curve is a guess. */
  show(episode) {
    this.#episode = episode;
    this.draw();
  }

  moveTo(frame, open = null) {
    this.#frame = frame;
    this.#open = open;
    this.#drawMoving();
  }

  get #size() {
    const { clientWidth: width, clientHeight: height } = this.#svg.parentElement;
    return { width, height };
  }

  #x(frame) {
    const { width } = this.#size;
    return LEFT + (frame / Math.max(1, this.#episode.length - 1)) * (width - LEFT - RIGHT);
  }

  #y(reward) {
    const { height } = this.#size;
    return TOP + (1 - reward) * (height - TOP - BOTTOM);
  }

  #place(event) {
    const box = this.#svg.getBoundingClientRect();
    const { width, height } = this.#size;
    const part = (event.clientX - box.left - LEFT) / (width - LEFT - RIGHT);
    const reward = 1 - (event.clientY - box.top - TOP) / (height - TOP - BOTTOM);
    const frame = Math.round(part * (this.#episode.length - 1));
    return {
      frame: Math.max(0, Math.min(this.#episode.length - 1, frame)),
      reward: Math.round(100 * Math.max(0, Math.min(1, reward))) / 100,
    };
  }

  #press(event) {
    if (!this.#episode || event.button !== 0) return;
    this.#svg.setPointerCapture(event.pointerId);
    const frame = event.target.dataset?.frame;
    this.#drag = frame === undefined ? { seek: true } : { from: Number(frame), moved: false };
    this.#say("seek", this.#drag.seek ? this.#place(event) : { frame: Number(frame) });
  }

  #move(event) {
    if (!this.#drag) return;
    const place = this.#place(event);
    if (this.#drag.seek) this.#say("seek", place);
    else {
      this.#drag.moved = true;
      this.#say("drag", { from: this.#drag.from, ...place });
    }
  }

  #release() {
    const drag = this.#drag;
    this.#drag = null;
    if (drag?.moved) this.#say("drop", { from: drag.from });
  }

  draw() {
    if (!this.#episode) return;
    const { width, height } = this.#size;
    this.#svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
    const { curve, drops, prediction, lower, upper, guess, model } = this.#episode;
    const nodes = this.#grid(width, height);
    if (lower && upper) nodes.push(element("path", { class: "band", d: this.#band(lower, upper) }));
    if (prediction) nodes.push(element("path", { class: "prediction", d: this.#path(prediction, []) }));
    nodes.push(element("path", { class: guess ? "curve guess" : "curve", d: this.#path(curve, drops) }));
    for (const frame of drops) {
      const [x, from, to] = [this.#x(frame), this.#y(curve[frame - 1]), this.#y(curve[frame])];
      nodes.push(element("path", { class: "drop", d: `M${x} ${from}V${to}` }));
      nodes.push(element("text", { class: "droptext", x: x + 6, y: (from + to) / 2 }, "drop"));
    }
    nodes.push(...this.#spans(height), ...this.#legend(guess, prediction && model));
    this.#still.replaceChildren(...nodes);
    this.#drawMoving();
  }

  #grid(width, height) {
    const nodes = [];
    for (const reward of [0, 0.25, 0.5, 0.75, 1]) {
      const y = this.#y(reward);
      nodes.push(element("path", { class: "grid", d: `M${LEFT} ${y}H${width - RIGHT}` }));
      nodes.push(element("text", { x: LEFT - 8, y: y + 4, "text-anchor": "end" }, reward));
    }
    nodes.push(element("text", { x: LEFT - 8, y: 15, "text-anchor": "end" }, "reward"));
    nodes.push(element("text", { x: LEFT - 8, y: height - 7, "text-anchor": "end" }, "frame"));
    const { length } = this.#episode;
    const rough = length / Math.max(2, Math.floor(width / 80));
    const unit = 10 ** Math.floor(Math.log10(Math.max(1, rough)));
    const step = [1, 2, 5, 10].map((n) => n * unit).find((n) => n >= rough) ?? unit;
    for (let frame = 0; frame < length; frame += step) {
      const x = this.#x(frame);
      nodes.push(element("path", { class: "grid", d: `M${x} ${TOP}V${height - BOTTOM}` }));
      nodes.push(element("text", { x, y: height - 7, "text-anchor": "middle" }, frame));
    }
    return nodes;
  }

  /** A line through all frames; at a drop it falls straight down. */
  #path(values, drops) {
    const falls = new Set(drops);
    let path = "";
    values.forEach((value, frame) => {
      if (value === null) return;
      const x = this.#x(frame).toFixed(2);
      if (path && falls.has(frame)) path += `H${x}`;
      path += `${path ? "L" : "M"}${x} ${this.#y(value).toFixed(2)}`;
    });
    return path;
  }

  #band(lower, upper) {
    const there = upper.map((value, frame) => `${this.#x(frame).toFixed(2)} ${this.#y(value).toFixed(2)}`);
    const back = lower.map((value, frame) => `${this.#x(frame).toFixed(2)} ${this.#y(value).toFixed(2)}`);
    return `M${[...there, ...back.reverse()].join("L")}Z`;
  }

  #spans(height) {
    const y = height - BOTTOM + GAP;
    const nodes = [element("text", { x: LEFT - 8, y: y + 11, "text-anchor": "end" }, "control")];
    for (const { start_index: first, end_index: last, mode } of this.#episode.labels.control_modes) {
      const x = this.#x(first);
      const width = Math.max(3, this.#x(last) - x);
      nodes.push(element("rect", { class: `span ${mode}`, x, y, width, height: LANE - 4, rx: 3 }));
      if (width > 44) nodes.push(element("text", { class: "onspan", x: x + 5, y: y + 11 }, mode));
    }
    return nodes;
  }

  #legend(guess, model) {
    const entries = [[guess ? "curve guess" : "curve", guess ? `label (${this.#episode.source ?? "none"})` : "label"]];
    if (model) entries.push(["prediction", model]);
    const nodes = [];
    let x = LEFT;
    for (const [style, name] of entries) {
      nodes.push(element("path", { class: style, d: `M${x} 11H${x + 28}` }));
      nodes.push(element("text", { x: x + 34, y: 15 }, name));
      x += 60 + 7 * name.length;
    }
    return nodes;
  }

  #drawMoving() {
    if (!this.#episode) return;
    const { height } = this.#size;
    const { labels, curve, length, fps } = this.#episode;
    const x = this.#x(this.#frame);
    const nodes = [];
    if (this.#open) {
      const first = this.#x(Math.min(this.#open.frame, this.#frame));
      const last = this.#x(Math.max(this.#open.frame, this.#frame));
      const place = { x: first, y: height - BOTTOM + GAP, width: Math.max(3, last - first), height: LANE - 4, rx: 3 };
      nodes.push(element("rect", { class: `span open ${this.#open.mode}`, ...place }));
    }
    nodes.push(element("path", { class: "playhead", d: `M${x} ${TOP - 6}V${height - 22}` }));
    const reward = curve[this.#frame];
    const text = `${this.#frame}${reward === null ? "" : ` · ${reward.toFixed(2)}`}`;
    const atEnd = x > this.#size.width - 100;
    const anchor = atEnd ? { x: x - 6, "text-anchor": "end" } : { x: x + 6 };
    nodes.push(element("text", { ...anchor, y: TOP - 9 }, text));
    for (const { frame_index: frame, reward } of labels.keypoints) {
      const here = frame === this.#frame;
      const point = element("circle", {
        class: here ? "keypoint here" : "keypoint",
        cx: this.#x(frame),
        cy: this.#y(reward),
        r: here ? 8 : 6.5,
        "data-frame": frame,
      });
      point.append(element("title", {}, `frame ${frame}: ${reward}`));
      nodes.push(point);
    }
    this.#moving.replaceChildren(...nodes);
    this.#svg.setAttribute("aria-valuemax", length - 1);
    this.#svg.setAttribute("aria-valuenow", this.#frame);
    const value = reward === null ? "no reward" : `reward ${reward.toFixed(2)}`;
    this.#svg.setAttribute("aria-valuetext", `frame ${this.#frame}, ${(this.#frame / fps).toFixed(2)} s, ${value}`);
  }

  #say(type, detail) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }
}
