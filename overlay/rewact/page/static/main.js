// SPDX-License-Identifier: MIT
// The labelling page: what the keys, the chart and the list do to the episode that is open.

import { Chart } from "./chart.js";
import { Edits, same } from "./edits.js";
import { EpisodeList } from "./episodes.js";
import { actionOf, drawKeys } from "./keys.js";
import * as change from "./labels.js";
import { Player } from "./player.js";
import { Away, Refused, server } from "./server.js";
import { Session } from "./session.js";

const POLL_MS = 1000;
const TOLERANCE = 0.05;
const SPEEDS = [0.25, 0.5, 1, 2, 4];
const GUESSES = [null, "linear"];

const $ = (id) => document.getElementById(id);
const edits = new Edits();
const session = new Session();
const list = new EpisodeList($("episodes"));
const player = new Player($("cameras"));
const chart = new Chart($("chart"));

let dataset = null;
let known = { run: "", version: 0 };
let open = null; // the episode on the page
let span = null; // a span of control whose other end is still to come: its frame and mode
let dragged = null; // the labels while a keypoint is dragged

function say(sentence, refused = false) {
  $("status").textContent = sentence;
  $("status").classList.toggle("refused", refused);
}

// The episode

async function openEpisode(number) {
  if (number === null) return;
  const [detail, { cameras }] = await Promise.all([server.episode(number), server.cameras(number)]);
  span = dragged = null;
  open = { episode: number, length: detail.row.length, fps: dataset.fps, model: dataset.model };
  player.load(cameras, open.length, open.fps);
  list.select(number);
  take(detail);
  const waiting = edits.expected(number);
  if (waiting) draw(waiting);
  history.replaceState(null, "", `#${number}`);
  $("episode").textContent = `Episode ${number}`;
  $("taskname").textContent = detail.row.task;
  say(detail.row.labelled ? "Labelled" : "To label: digits set the reward at this frame, ? shows all keys");
  prepareNext();
}

/** Show what the server says of the open episode. */
function take(detail) {
  const { labels, curve, drops, prediction, lower, upper, row } = detail;
  Object.assign(open, { labels, curve, drops, prediction, lower, upper, source: row.source });
  open.guess = GUESSES.includes(row.source);
  open.outcome = row.outcome;
  list.update([row]);
  count();
  refresh();
}

function refresh() {
  for (const button of $("outcome").querySelectorAll("button")) {
    button.setAttribute("aria-pressed", String(button.dataset.outcome === open.outcome));
  }
  chart.show(open);
  chart.moveTo(player.frame, span);
}

/** Encode the next episode's videos while this one is labelled. */
async function prepareNext() {
  const next = list.next(1);
  if (next === null) return;
  const { cameras } = await server.cameras(next).catch(() => ({ cameras: [] }));
  for (const camera of cameras) if (!camera.problem && !camera.ready) await server.prepare(camera);
}

// Changes

/** Draw labels that are not stored yet, with the curve that the server makes of them. */
const preview = { busy: false, wanted: null };
async function draw(labels) {
  const changed = !same(labels.keypoints, open.labels.keypoints);
  open.labels = labels;
  if (labels.outcome) open.outcome = labels.outcome;
  refresh();
  if (!changed) return;
  preview.wanted = labels;
  if (preview.busy) return;
  preview.busy = true;
  while (preview.wanted) {
    const { episode } = open;
    const { keypoints } = preview.wanted;
    preview.wanted = null;
    const answer = await server.curve(episode, keypoints).catch(() => null);
    if (answer && open.episode === episode && same(keypoints, open.labels.keypoints)) {
      Object.assign(open, answer, keypoints.length ? { guess: false, source: "keypoints" } : {});
      refresh();
    }
  }
  preview.busy = false;
}

function commit(labels, kind = null, base = open.labels) {
  if (same(base, labels)) return;
  edits.change(open.episode, base, labels, kind);
  session.labelled(open.episode, labels.keypoints, open.length);
  draw(labels);
}

const describe = (frame, reward) => `Frame ${frame}: reward ${reward.toFixed(2)}`;

function setReward(frame, reward, kind = null) {
  commit(change.withKeypoint(open.labels, frame, reward), kind);
  say(describe(frame, reward));
}

async function travel(step) {
  if (!step) {
    say("Nothing left to undo or redo");
    return;
  }
  if (step.episode !== open?.episode) await openEpisode(step.episode);
  draw(step.labels);
  say(`Episode ${step.episode} as it was`);
}

const actions = {
  play: () => player.toggle(),
  step: (by) => player.seek(player.frame + by),
  seek: (frame) => player.seek(Math.min(frame, open.length - 1)),
  speed: (by) => setSpeed(SPEEDS[Math.max(0, Math.min(SPEEDS.length - 1, SPEEDS.indexOf(player.speed) + by))]),
  loop: () => player.setLoop(!player.loop),

  reward: (reward) => setReward(player.frame, reward ?? open.curve[player.frame] ?? 0),
  raise: (by) => {
    const frame = player.frame;
    const from = change.keypointAt(open.labels, frame)?.reward ?? open.curve[frame] ?? 0;
    player.seek(frame);
    setReward(frame, Math.round(100 * Math.max(0, Math.min(1, from + by))) / 100, `raise ${frame}`);
  },
  shift: (by) => {
    const point = change.keypointAt(open.labels, player.frame);
    if (!point) return say("There is no keypoint at this frame");
    const { labels, frame } = change.movedKeypoint(open.labels, player.frame, player.frame + by, point.reward, open.length);
    commit(labels, "shift");
    player.seek(frame);
    say(describe(frame, point.reward));
  },
  hop: (by) => {
    const frames = open.labels.keypoints.map((point) => point.frame_index);
    const next = by > 0 ? frames.find((f) => f > player.frame) : frames.findLast((f) => f < player.frame);
    if (next === undefined) return say("There is no keypoint on that side");
    player.seek(next);
  },
  remove: () => {
    if (!change.keypointAt(open.labels, player.frame)) return say("There is no keypoint at this frame");
    commit(change.withoutKeypoint(open.labels, player.frame));
    say(`Frame ${player.frame}: keypoint deleted`);
  },
  clear: () => {
    commit({ ...open.labels, keypoints: [] });
    say("All keypoints of this episode deleted; z brings them back");
  },
  copy: () => {
    const { last } = session;
    if (!last) return say("No episode was given keypoints yet");
    if (last.episode === open.episode) return say("The last keypoints are this episode's own");
    commit(change.withKeypointsOf(open.labels, open.length, last.keypoints, last.length));
    say(`Keypoints of episode ${last.episode}, at the same parts of this one`);
  },
  take: async () => {
    if (!open.prediction) return say(dataset.model ? "The model has not read this episode yet" : "There is no model");
    const { episode } = open;
    const { keypoints } = await server.fit(episode, TOLERANCE);
    if (open.episode !== episode) return;
    commit({ ...open.labels, keypoints });
    say(`${keypoints.length} keypoints follow the model within ${TOLERANCE}`);
  },

  outcome: (outcome) => {
    commit({ ...open.labels, outcome });
    open.outcome = outcome;
    refresh();
    say(`Outcome: ${outcome}`);
  },
  control: (mode) => {
    const { frame } = player;
    if (span?.mode !== mode) {
      span = { frame, mode };
      chart.moveTo(frame, span);
      return say(`${mode} control from frame ${frame}: press the same key where it ends, Esc to leave it`);
    }
    const [first, last] = [Math.min(span.frame, frame), Math.max(span.frame, frame)];
    span = null;
    commit(change.withSpan(open.labels, first, last, mode));
    chart.moveTo(frame);
    say(`${mode} control from frame ${first} to ${last}`);
  },
  uncontrol: () => {
    const there = change.spanAt(open.labels, player.frame);
    if (!there) return say("There is no span of control at this frame");
    commit(change.withSpan(open.labels, there.start_index, there.end_index, null));
    say("Span deleted");
  },

  next: () => {
    const next = list.next(1, true);
    if (next === null) return say("All episodes shown are labelled");
    return openEpisode(next);
  },
  episode: (by) => openEpisode(list.next(by)),
  open: (number) => openEpisode(number),
  order: () => {
    $("order").selectedIndex = ($("order").selectedIndex + 1) % $("order").options.length;
    arrange();
    say(`Order: ${$("order").selectedOptions[0].textContent}`);
  },
  task: () => $("task").focus(),

  undo: () => travel(edits.undo()),
  redo: () => travel(edits.redo()),
  summary: () => showSummary(),
  help: () => $("help").showModal(),
};
actions.back = () => actions.step(-1);
actions.forward = () => actions.step(1);

const WITHOUT_EPISODE = new Set(["order", "task", "undo", "redo", "summary", "help", "next", "episode", "open", "loop", "speed"]);

/** Actions happen one after the other: what is typed while an episode is opened is meant for that one. */
let doing = Promise.resolve();
function act(name, argument) {
  doing = doing.then(async () => {
    if (!open && !WITHOUT_EPISODE.has(name)) return;
    await actions[name](argument);
  }).catch(report);
}

function report(error) {
  say(error.message, true);
  if (!(error instanceof Refused || error instanceof Away)) throw error;
}

function setSpeed(speed) {
  player.setSpeed(speed);
  $("speed").value = String(speed);
}

function showSummary() {
  const plot = $("plot");
  plot.textContent = "Drawing…";
  $("summary").showModal();
  const image = document.createElement("img");
  image.alt = "The label curves of all episodes";
  image.addEventListener("load", () => plot.replaceChildren(image));
  image.addEventListener("error", () => (plot.textContent = "There are no labels to draw"));
  image.src = `/api/summary.png?version=${known.version}`;
}

// The list

function count() {
  const rows = [...list.rows.values()];
  const done = rows.filter((row) => row.labelled).length;
  $("counts").textContent = [`${done} of ${rows.length} labelled`, session.describe()].filter(Boolean).join(" · ");
  $("progress").firstChild.style.width = `${(100 * done) / Math.max(1, rows.length)}%`;
  $("progress").setAttribute("aria-valuemax", rows.length);
  $("progress").setAttribute("aria-valuenow", done);
}

function problems(sentences) {
  $("problems").hidden = !sentences.length;
  $("problems").replaceChildren(
    ...sentences.map((sentence) => {
      const paragraph = document.createElement("p");
      paragraph.textContent = sentence;
      return paragraph;
    }),
  );
}

async function fill() {
  const answer = await server.episodes();
  known = answer;
  problems(answer.problems);
  list.fill(answer.rows);
  count();
}

async function arrange() {
  if ($("order").value === "work") await fill();
  list.arrange($("order").value, $("task").value);
}

/** Show what others have changed. */
async function poll() {
  try {
    const answer = await server.changes(known.run, known.version);
    const news = answer.run !== known.run || answer.version !== known.version;
    known = answer;
    if (news) {
      problems(answer.problems);
      list.update(answer.rows);
      count();
      const changed = open && answer.rows.some((row) => row.episode === open.episode);
      if (changed && !edits.waiting && !dragged) {
        const detail = await server.episode(open.episode);
        if (open.episode === detail.episode && !edits.waiting && !dragged) take(detail);
      }
    }
  } catch {
    // edits say that the server is away, if any wait for it
  }
  setTimeout(poll, POLL_MS);
}

// What happens

edits.addEventListener("waiting", () => saved("saving…", true));
edits.addEventListener("away", () => saved(`not saved: the server does not answer, trying again`, true));
edits.addEventListener("idle", () => saved("all changes are saved"));
edits.addEventListener("saved", ({ detail }) => {
  list.update([detail.row]);
  count();
  if (open?.episode === detail.episode && !edits.expected(detail.episode) && !dragged) take(detail);
});
edits.addEventListener("refused", async ({ detail: { episode, reason, conflict } }) => {
  if (open?.episode === episode) take(await server.episode(episode));
  say(conflict ? `Not saved: ${reason}. Shown is what is stored.` : `Not saved: ${reason}`, true);
});

function saved(words, waiting = false) {
  $("saved").textContent = words;
  $("saved").classList.toggle("waiting", waiting);
}

player.addEventListener("frame", () => {
  if (!open) return;
  const { frame, length, fps } = player;
  $("clock").textContent = `frame ${frame} / ${length - 1} · ${(frame / fps).toFixed(2)} s`;
  chart.moveTo(frame, span);
});
player.addEventListener("state", () => {
  $("play").textContent = player.playing ? "❚❚" : "▶";
  $("play").setAttribute("aria-label", player.playing ? "Pause" : "Play");
  $("loop").setAttribute("aria-pressed", String(player.loop));
});

chart.addEventListener("seek", ({ detail }) => player.seek(detail.frame));
chart.addEventListener("set", ({ detail }) => setReward(detail.frame, detail.reward));
chart.addEventListener("drag", ({ detail: { from, frame, reward } }) => {
  dragged ??= { base: open.labels, from };
  const moved = change.movedKeypoint(dragged.base, dragged.from, frame, reward, open.length);
  draw(moved.labels);
  player.seek(moved.frame);
  say(describe(moved.frame, reward));
});
chart.addEventListener("drop", () => {
  const { base } = dragged;
  dragged = null;
  commit(open.labels, null, base);
});

list.addEventListener("open", ({ detail }) => act("open", detail));
$("order").addEventListener("change", arrange);
$("task").addEventListener("change", arrange);
$("speed").addEventListener("change", () => setSpeed(Number($("speed").value)));
$("play").addEventListener("click", () => act("play"));
$("loop").addEventListener("click", () => act("loop"));
$("outcome").addEventListener("click", (event) => {
  const outcome = event.target.closest("button")?.dataset.outcome;
  if (outcome) act("outcome", outcome);
});
for (const button of document.querySelectorAll("[data-do]")) {
  button.addEventListener("click", () => act(button.dataset.do));
}
addEventListener("click", (event) => {
  // A click leaves the keys with the page; who comes by the tab key keeps them on the button.
  if (event.detail) document.activeElement?.blur();
});
addEventListener("keydown", (event) => {
  if (document.querySelector("dialog[open]")) return;
  if (event.key === "Escape") {
    span = null;
    if (open) chart.moveTo(player.frame);
    document.activeElement?.blur();
    return;
  }
  const onControl = event.target.closest?.("button, select, input");
  if (onControl && (onControl.tagName === "SELECT" || event.key === "Enter" || event.key === " ")) return;
  const action = actionOf(event);
  if (!action) return;
  event.preventDefault();
  act(...action);
});

drawKeys($("keys"));
try {
  [dataset] = await Promise.all([server.dataset(), fill()]);
  document.title = `Label ${dataset.repo_id}`;
  $("dataset").textContent = dataset.repo_id;
  $("take").hidden = !dataset.model;
  for (const task of dataset.tasks) $("task").append(new Option(task || "(no task)", task));
  const asked = Number.parseInt(location.hash.slice(1), 10);
  act("open", list.rows.has(asked) ? asked : (list.shown[0] ?? null));
  edits.resume();
} catch (error) {
  report(error);
}
setTimeout(poll, POLL_MS);
