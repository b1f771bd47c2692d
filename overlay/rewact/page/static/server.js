// SPDX-License-Identifier: MIT
// What the page asks the server.

/** The server answered that it refuses; `answer` is what it said. */
export class Refused extends Error {
  constructor(status, answer) {
    super(answer.error ?? `the server answered ${status}`);
    this.status = status;
    this.answer = answer;
  }
}

/** There is no server, or it was killed while it answered. */
export class Away extends Error {
  constructor() {
    super("The server does not answer");
  }
}

/** Throws Refused or Away. */
async function ask(path, method = "GET", content = undefined) {
  const options = { method };
  if (content !== undefined) {
    options.headers = { "Content-Type": "application/json" };
    options.body = JSON.stringify(content);
  }
  let response, answer;
  try {
    response = await fetch(path, options);
    answer = await response.json();
  } catch {
    throw new Away();
  }
  if (!response.ok) throw new Refused(response.status, answer);
  return answer;
}

const CODECS = {
  h264: 'video/mp4; codecs="avc1.640028"',
  av1: 'video/mp4; codecs="av01.0.05M.08"',
  vp9: 'video/mp4; codecs="vp09.00.30.08"',
  hevc: 'video/mp4; codecs="hvc1.1.6.L93.B0"',
};
const video = document.createElement("video");
const plays = Object.keys(CODECS).filter((name) => video.canPlayType(CODECS[name]) !== "");

export const server = {
  dataset: () => ask("/api/dataset"),
  episodes: () => ask("/api/episodes"),
  changes: (run, version) => ask(`/api/changes?run=${run}&since=${version}`),
  episode: (number) => ask(`/api/episodes/${number}`),
  cameras: (number) => ask(`/api/episodes/${number}/cameras?plays=${plays.join(",")}`),
  curve: (number, keypoints) => ask(`/api/episodes/${number}/curve`, "POST", { keypoints }),
  fit: (number, tolerance) => ask(`/api/episodes/${number}/fit`, "POST", { tolerance }),
  save: (number, base, labels) => ask(`/api/episodes/${number}/labels`, "PUT", { base, labels }),
  thumbnail: (number, which) => `/thumbnails/${number}/${which}`,
  /** Have the server encode a video that is not ready, for when it is wanted. */
  prepare: (camera) => fetch(camera.url, { method: "HEAD" }).catch(() => null),
};
