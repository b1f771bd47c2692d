// SPDX-License-Identifier: MIT
// Labels of an episode, changed. Each function returns new labels and leaves the old ones as they are.

const byFrame = (one, other) => one.frame_index - other.frame_index;

export const keypointAt = (labels, frame) => labels.keypoints.find((point) => point.frame_index === frame) ?? null;

export function withKeypoint(labels, frame, reward) {
  const others = labels.keypoints.filter((point) => point.frame_index !== frame);
  const rounded = Math.round(1000 * Math.max(0, Math.min(1, reward))) / 1000;
  return { ...labels, keypoints: [...others, { frame_index: frame, reward: rounded }].sort(byFrame) };
}

export function withoutKeypoint(labels, frame) {
  return { ...labels, keypoints: labels.keypoints.filter((point) => point.frame_index !== frame) };
}

/** A keypoint moved, but not past its neighbours. */
export function movedKeypoint(labels, from, to, reward, length) {
  const others = withoutKeypoint(labels, from);
  const frames = others.keypoints.map((point) => point.frame_index);
  const first = Math.max(-1, ...frames.filter((frame) => frame < from)) + 1;
  const last = Math.min(length, ...frames.filter((frame) => frame > from)) - 1;
  const frame = Math.max(first, Math.min(last, to));
  return { labels: withKeypoint(others, frame, reward), frame };
}

/** Another episode's keypoints at the same parts of this one. */
export function withKeypointsOf(labels, length, keypoints, otherLength) {
  const scale = (length - 1) / Math.max(1, otherLength - 1);
  return keypoints.reduce(
    (changed, { frame_index: frame, reward }) => withKeypoint(changed, Math.round(frame * scale), reward),
    { ...labels, keypoints: [] },
  );
}

export const spanAt = (labels, frame) =>
  labels.control_modes.find((span) => span.start_index <= frame && frame <= span.end_index) ?? null;

/** A span of control over whatever was there; without a mode it is cut out. */
export function withSpan(labels, first, last, mode) {
  const kept = labels.control_modes.flatMap((span) => [
    { ...span, end_index: Math.min(span.end_index, first - 1) },
    { ...span, start_index: Math.max(span.start_index, last + 1) },
  ]).filter(({ start_index: from, end_index: to }) => from <= to);
  const spans = mode ? [...kept, { start_index: first, end_index: last, mode }] : kept;
  spans.sort((one, other) => one.start_index - other.start_index);
  const joined = [];
  for (const span of spans) {
    const before = joined.at(-1);
    if (before && before.mode === span.mode && before.end_index + 1 === span.start_index) {
      joined[joined.length - 1] = { ...before, end_index: span.end_index };
    } else joined.push(span);
  }
  return { ...labels, control_modes: joined };
}
