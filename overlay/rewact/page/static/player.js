// SPDX-License-Identifier: MIT
// All cameras on one clock that counts frames. A video is asked for the middle of a frame, so that no rounding
// of seconds can show the one beside it; while playing, the first video's own frames are the clock.

const MAX_LAG = 1;

export class Player extends EventTarget {
  frame = 0;
  length = 1;
  fps = 1;
  playing = false;
  loop = false;
  speed = 1;
  #views = [];
  #turn = 0;
  #container;

  constructor(container) {
    super();
    this.#container = container;
  }

  /** Show an episode, from its first frame. */
  load(cameras, length, fps) {
    this.pause();
    this.#turn += 1;
    for (const { video } of this.#views) {
      video.removeAttribute("src");
      video.load();
    }
    Object.assign(this, { length, fps, frame: 0 });
    this.#views = [];
    this.#container.replaceChildren(...cameras.map((camera) => this.#view(camera)));
    this.seek(0);
  }

  #view(camera) {
    const figure = document.createElement("figure");
    const caption = document.createElement("figcaption");
    caption.textContent = camera.name;
    figure.append(caption);
    const fail = (sentence) => {
      const text = document.createElement("p");
      text.className = "problem";
      text.textContent = sentence;
      figure.replaceChildren(caption, text);
    };
    if (camera.problem) {
      fail(camera.problem);
      return figure;
    }
    const video = document.createElement("video");
    Object.assign(video, { muted: true, playsInline: true, preload: "auto", disablePictureInPicture: true });
    video.tabIndex = -1;
    video.setAttribute("aria-label", `Camera ${camera.name}`);
    const view = { video, start: camera.start, seeking: false, shown: null };
    const waiting = document.createElement("p");
    waiting.className = "waiting";
    waiting.textContent = "preparing the video…";
    if (!camera.ready) figure.append(waiting);
    video.addEventListener("loadeddata", () => waiting.remove());
    video.addEventListener("seeked", () => {
      view.seeking = false;
      view.shown = view.asked;
      video.dataset.frame = view.shown;
      if (!this.playing && view.asked !== this.frame) this.#show(view, this.frame);
      if (!this.playing && this.#views.every(({ shown }) => shown === this.frame)) this.#say("shown");
    });
    video.addEventListener("error", async () => {
      if (!video.hasAttribute("src")) return;
      this.#views = this.#views.filter((other) => other !== view);
      const answer = await fetch(camera.url, { headers: { Range: "bytes=0-0" } }).catch(() => null);
      const refusal = answer && !answer.ok ? await answer.json().catch(() => ({})) : {};
      const reason = refusal.error ?? video.error?.message;
      fail(`${camera.name} cannot be played: ${reason || "the server does not answer"}`);
    });
    video.src = camera.url;
    figure.append(video);
    this.#views.push(view);
    return figure;
  }

  /** Show a frame in all cameras. */
  seek(frame) {
    this.pause();
    this.#moveTo(Math.max(0, Math.min(this.length - 1, Math.round(frame))));
    for (const view of this.#views) this.#show(view, this.frame);
  }

  toggle() {
    if (this.playing) this.seek(this.frame);
    else this.play();
  }

  play() {
    if (this.playing || this.length < 2) return;
    if (this.frame >= this.length - 1) this.seek(0);
    this.playing = true;
    this.#say("state");
    const turn = ++this.#turn;
    const [leader] = this.#views;
    if (leader) this.#follow(leader, turn);
    else this.#count(turn);
  }

  pause() {
    if (!this.playing) return;
    this.playing = false;
    this.#turn += 1;
    for (const { video } of this.#views) video.pause();
    this.#say("state");
  }

  setSpeed(speed) {
    this.speed = speed;
    for (const { video } of this.#views) video.playbackRate = speed;
    this.#say("state");
  }

  setLoop(loop) {
    this.loop = loop;
    this.#say("state");
  }

  #show(view, frame) {
    if (view.seeking) return; // it goes on when it has arrived
    view.seeking = true;
    view.asked = frame;
    view.video.currentTime = view.start + (frame + 0.5) / this.fps;
  }

  #frameOf(view, mediaTime) {
    return Math.round((mediaTime - view.start) * this.fps);
  }

  /** Play the videos, with the frames that the leading one shows as the clock. */
  #follow(leader, turn) {
    for (const view of this.#views) {
      view.video.playbackRate = this.speed;
      view.shown = null;
      view.video.play().catch(() => null); // pausing at once interrupts it
      if (view === leader) continue;
      const onFrame = (_, { mediaTime }) => {
        if (turn !== this.#turn) return;
        const lag = this.#frameOf(view, mediaTime) - this.frame;
        if (Math.abs(lag) > MAX_LAG && !view.video.seeking) {
          view.video.currentTime = leader.video.currentTime - leader.start + view.start;
        }
        view.video.requestVideoFrameCallback(onFrame);
      };
      view.video.requestVideoFrameCallback(onFrame);
    }
    const onFrame = (_, { mediaTime }) => {
      if (turn !== this.#turn) return;
      leader.video.dataset.frame = this.#frameOf(leader, mediaTime);
      if (this.#advance(this.#frameOf(leader, mediaTime))) leader.video.requestVideoFrameCallback(onFrame);
    };
    leader.video.requestVideoFrameCallback(onFrame);
    leader.video.onended = () => turn === this.#turn && this.#advance(this.length);
  }

  /** Without a video: count the frames by the time that passes. */
  #count(turn) {
    let since = performance.now();
    let first = this.frame;
    let speed = this.speed;
    const tick = (now) => {
      if (turn !== this.#turn) return;
      if (speed !== this.speed) [since, first, speed] = [now, this.frame, this.speed];
      if (this.#advance(first + Math.floor(((now - since) / 1000) * speed * this.fps))) requestAnimationFrame(tick);
    };
    requestAnimationFrame(tick);
  }

  /** Whether playing goes on after this frame. */
  #advance(frame) {
    if (frame < this.length - 1) {
      this.#moveTo(Math.max(0, frame));
      return true;
    }
    this.#moveTo(this.length - 1);
    const again = this.loop;
    this.seek(again ? 0 : this.length - 1);
    if (again) this.play();
    return false;
  }

  #moveTo(frame) {
    this.frame = frame;
    this.#say("frame");
  }

  #say(type) {
    this.dispatchEvent(new Event(type));
  }
}
