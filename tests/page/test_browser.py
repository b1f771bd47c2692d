# SPDX-License-Identifier: MIT
"""The labelling page in a real browser."""

import json
import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import uvicorn

from lerobot.datasets.lerobot_dataset import LeRobotDataset
from rewact.cli.label_page import listen
from rewact.labels import LeRobotDatasetWithReward
from rewact.labels.label_file import load_labels
from tests.page.conftest import LENGTHS, REPO_ID, brightness, create, encode_anew, multiply
from tests.versions import HAS_JOBS

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium: apt-get install chromium"),
    # What runs in the browser is the same on every release, and its server is tested on all of them.
    pytest.mark.skipif(not HAS_JOBS, reason="the page is looked at on the newest release"),
]

# What a camera shows: the grey value in the middle of its picture.
GREY = """video => {
    const canvas = document.createElement('canvas');
    [canvas.width, canvas.height] = [video.videoWidth, video.videoHeight];
    const context = canvas.getContext('2d');
    context.drawImage(video, 0, 0);
    return context.getImageData(canvas.width / 2, canvas.height / 2, 1, 1).data[0];
}"""


class Server:
    """The page of a dataset on a port of its own, which stays the same when it is started again."""

    def __init__(self, make: Callable):
        self.make = make
        self.port = 0
        self.start()

    def start(self) -> None:
        listener = listen("127.0.0.1", self.port)
        self.port = listener.getsockname()[1]
        self.page = self.make()
        config = uvicorn.Config(self.page.app("127.0.0.1", None), log_level="error", lifespan="off")
        self.server = uvicorn.Server(config)
        self.thread = threading.Thread(target=self.server.run, kwargs={"sockets": [listener]})
        self.thread.start()

    def stop(self) -> None:
        self.server.should_exit = self.server.force_exit = True
        self.thread.join()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/"


@pytest.fixture
def serve(page) -> Iterator[Callable[..., Server]]:
    servers = []

    def serve(*args, **settings) -> Server:
        servers.append(Server(lambda: page(*args, **settings)))
        return servers[-1]

    yield serve
    for server in servers:
        server.stop()


@pytest.fixture(scope="module")
def chromium() -> Iterator:
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def visit(chromium) -> Iterator[Callable]:
    """Open an address in a window; what goes wrong in its scripts fails the test."""
    faults, contexts = [], []

    def visit(url: str, episode: int | None = 0, context=None):
        if context is None:
            context = chromium.new_context(viewport={"width": 1280, "height": 720})
            contexts.append(context)
        window = context.new_page()
        window.set_default_timeout(20_000)
        window.on("pageerror", lambda error: faults.append(str(error)))
        window.goto(url + (f"#{episode}" if episode is not None else ""))
        shows(window, "#episode", "Episode")
        return window

    yield visit
    for context in contexts:
        context.close()
    assert not faults


def press(window, *keys: str) -> None:
    for key in keys:
        window.keyboard.press(key)


def shows(window, place: str, text: str) -> None:
    playwright.expect(window.locator(place)).to_contain_text(text, timeout=20_000)


def is_saved(window) -> None:
    playwright.expect(window.locator("#saved")).to_have_text("all changes are saved", timeout=20_000)


def is_at(window, frame: int, n_cameras: int = 2) -> None:
    """Wait until all cameras show a frame, and look whether they do."""
    cameras = window.locator(f"video[data-frame='{frame}']")
    playwright.expect(cameras).to_have_count(n_cameras, timeout=20_000)
    for video in cameras.all():
        assert abs(video.evaluate(GREY) - brightness(frame)) <= 4


def drawn(window) -> list[tuple[float, float]]:
    """Frame and reward of the corners of the curve, read from the picture."""
    return window.evaluate(
        """() => {
            const numbers = (node, name) => Number(node.getAttribute(name));
            const texts = [...document.querySelectorAll('#chart text')];
            const grid = [...document.querySelectorAll('#chart .grid')].map(n => n.getAttribute('d'));
            const [low, , , , high] = grid.slice(0, 5).map(d => Number(d.match(/ (.*)H/)[1]));
            const left = Number(grid[0].match(/M(.*) /)[1]), right = Number(grid[0].match(/H(.*)/)[1]);
            const last = numbers(document.querySelector('#chart svg'), 'aria-valuemax');
            const path = document.querySelector('#chart svg > g .curve').getAttribute('d');
            return [...path.matchAll(/[ML]([\\d.]+) ([\\d.]+)/g)].map(([, x, y]) => [
                (Number(x) - left) / (right - left) * last, (low - Number(y)) / (low - high)]);
        }"""
    )


def trained(root: Path, episode: int) -> list[float]:
    labels = LeRobotDatasetWithReward(LeRobotDataset(REPO_ID, root=root, download_videos=False)).labels
    row = labels.table.row(episode)
    return labels.rewards[labels.table.starts[row] : labels.table.ends[row]].tolist()


def stored(server: Server):
    return load_labels(server.page.book.table)


def test_an_episode_is_labelled_by_keys_alone(serve, visit, root):
    server = serve()
    window = visit(server.url, episode=1)
    is_at(window, 0)
    press(window, "0", "ArrowRight", "ArrowRight", "ArrowRight", "ArrowRight")
    is_at(window, 4)
    press(window, "6", "ArrowUp", "h", "Shift+ArrowRight", "h", "1", "Shift+ArrowDown", "End", "8", "s")
    is_at(window, 19)
    is_saved(window)
    labels = stored(server)
    assert labels.keypoints == {1: {0: 0.0, 4: 0.61, 14: 0.0, 19: 0.8}}
    assert labels.outcomes == {1: "success"} and labels.control_modes == {1: [(4, 14, "human")]}
    corners = drawn(window)
    assert [round(frame) for frame, _ in corners] == list(range(LENGTHS[1]))
    assert [reward for _, reward in corners] == pytest.approx(trained(root, 1), abs=1e-3)
    assert window.locator("#chart .drop").count() == 1
    shows(window, "#counts", "1 of 3 labelled · 1 in this tab")
    # Deleting, moving, and the next episode that needs labels.
    press(window, "x", "[", ".", "[", "[", ",", "n")
    shows(window, "#episode", "Episode 2")
    is_saved(window)
    assert stored(server).keypoints == {1: {0: 0.0, 4: 0.61, 15: 0.0}}
    press(window, "c")
    shows(window, "#status", "Keypoints of episode 1")
    press(window, "?")
    playwright.expect(window.locator("#help")).to_be_visible()
    press(window, "Escape")
    is_saved(window)
    assert list(stored(server).keypoints[2]) == [0, 6, 21]


def test_undo_goes_back_through_the_session(serve, visit):
    server = serve()
    window = visit(server.url)
    press(window, "3", "s", "j", "f")
    shows(window, "#status", "Outcome: failure")
    is_saved(window)
    window.reload()
    shows(window, "#episode", "Episode 1")
    press(window, "z", "z", "z")
    shows(window, "#episode", "Episode 0")
    shows(window, "#counts", "0 of 3 labelled")
    is_saved(window)
    assert stored(server).episodes() == []
    press(window, "y", "Control+y", "Shift+Z")
    shows(window, "#episode", "Episode 1")
    is_saved(window)
    labels = stored(server)
    assert labels.keypoints == {0: {0: 0.3}} and labels.outcomes == {0: "success", 1: "failure"}


def test_a_keypoint_is_dragged(serve, visit, root):
    server = serve()
    window = visit(server.url)
    press(window, "2", "End", "7", "Home")
    is_saved(window)
    is_at(window, 0)
    playwright.expect(window.locator("#chart .keypoint")).to_have_count(2)
    # In one go, as the points are drawn again with every frame.
    points = window.evaluate(
        """() => [...document.querySelectorAll('#chart .keypoint')].map(point => {
            const box = point.getBoundingClientRect();
            return [box.x + box.width / 2, box.y + box.height / 2];
        })"""
    )
    middle = [sum(places) / 2 for places in zip(*points, strict=True)]
    window.mouse.move(*points[1])
    window.mouse.down()
    window.mouse.move(*middle, steps=4)
    window.mouse.up()
    is_saved(window)
    ((frame, reward),) = [(f, r) for f, r in stored(server).keypoints[0].items() if f]
    assert abs(frame - 11.5) <= 1 and abs(reward - 0.45) <= 0.05
    is_at(window, frame)
    assert [reward for _, reward in drawn(window)] == pytest.approx(trained(root, 0), abs=1e-3)
    press(window, "z")
    is_saved(window)
    assert stored(server).keypoints == {0: {0: 0.2, 23: 0.7}}


def test_nothing_is_lost_when_the_server_is_killed_in_between(serve, visit):
    server = serve()
    window = visit(server.url)
    press(window, "1")
    is_saved(window)
    server.stop()
    press(window, "ArrowRight", "4", "f")
    shows(window, "#saved", "not saved")
    server.start()
    window.reload()
    shows(window, "#episode", "Episode 0")
    is_saved(window)
    labels = stored(server)
    assert labels.keypoints == {0: {0: 0.1, 1: 0.4}} and labels.outcomes == {0: "failure"}
    press(window, "z", "z")
    is_saved(window)
    assert stored(server).keypoints == {0: {0: 0.1}}


def test_two_pages_see_each_other_and_a_conflict_is_refused(serve, visit, root):
    server = serve()
    one, other = visit(server.url), visit(server.url)
    press(one, "5")
    playwright.expect(other.locator("#chart .keypoint")).to_have_count(1, timeout=20_000)
    shows(other, "#counts", "1 of 3 labelled")
    # The other page changes the labels before this one hears of it.
    one.route("**/api/changes*", lambda route: route.abort())
    press(other, "ArrowRight", "9")
    is_saved(other)
    press(one, "End", "7")
    shows(one, "#status", "changed by somebody else meanwhile")
    playwright.expect(one.locator("#chart .keypoint")).to_have_count(2)
    assert stored(server).keypoints == {0: {0: 0.5, 1: 0.9}}


def test_playing_shows_the_frames_it_counts_and_stops_at_the_end(serve, visit):
    window = visit(serve().url, episode=0)
    is_at(window, 0)
    window.select_option("#speed", "4")
    press(window, "Escape", " ")
    playwright.expect(window.locator("#play")).to_have_attribute("aria-label", "Pause")
    playwright.expect(window.locator("#play")).to_have_attribute("aria-label", "Play", timeout=20_000)
    shows(window, "#clock", "frame 23 / 23")
    is_at(window, 23)
    press(window, "ArrowLeft")
    is_at(window, 22)


def test_av1_plays_as_it_is(serve, visit, root, tmp_path):
    encode_anew(root, "libsvtav1", g="2", crf="20", preset="12")
    window = visit(serve().url, episode=2)
    press(window, *["ArrowRight"] * 7)
    is_at(window, 7)
    assert not (tmp_path / "cache/media").exists() or not list((tmp_path / "cache/media").glob("*.mp4"))


def test_pictures_and_key_frames_far_apart_are_encoded_first(serve, visit, root, image_root, tmp_path):
    encode_anew(root, "libx264", g="250", keyint_min="250", sc_threshold="0", crf="12")
    for folder, n_cameras in ((root, 2), (image_root, 1)):
        window = visit(serve(folder).url, episode=2)
        press(window, *["ArrowRight"] * 5)
        is_at(window, 5, n_cameras)


def test_broken_files_are_sentences_on_the_page(serve, visit, root):
    (video,) = (root / "videos/observation.images.top").rglob("*.mp4")
    video.write_bytes(b"no video")
    path = root / "rewact_extensions/outcomes.json"
    path.parent.mkdir()
    path.write_text("{")
    window = visit(serve().url)
    shows(window, "#problems", "outcomes.json is not valid JSON")
    shows(window, "#cameras .problem", "cannot be read as a video")
    is_at(window, 0, n_cameras=1)
    press(window, "4")
    is_saved(window)
    press(window, "s")
    shows(window, "#status", "outcomes.json is not valid JSON")
    path.unlink()
    playwright.expect(window.locator("#problems")).to_be_hidden(timeout=20_000)


def test_what_is_typed_while_an_episode_is_opened_is_meant_for_it(serve, visit):
    server = serve()
    window = visit(server.url, episode=2)  # the longest, seen at a frame that the others lack
    press(window, "End", "6")
    window.route("**/api/episodes/1", lambda route: (is_saved(window), route.continue_()))
    press(window, "Shift+J", "4", "ArrowRight", "8", "s")
    shows(window, "#status", "Outcome: success")
    is_saved(window)
    labels = stored(server)
    assert labels.keypoints == {1: {0: 0.4, 1: 0.8}, 2: {27: 0.6}} and labels.outcomes == {1: "success"}


def test_three_hundred_episodes(serve, visit, tmp_path):
    root = create(tmp_path / "many", "video", lengths=(12,), cameras=("observation.image",))
    encode_anew(root, "libx264", g="2", bf="0", crf="12")
    multiply(root, 300)
    server = serve(root)
    window = visit(server.url, episode=None)
    assert window.locator("#episodes li").count() == 300
    shows(window, "#counts", "0 of 300 labelled")
    press(window, "5", "n")
    shows(window, "#episode", "Episode 1")
    window.locator("#episodes button[data-episode='299']").click()
    shows(window, "#episode", "Episode 299")
    is_at(window, 0, n_cameras=1)
    press(window, "7", "o", "o", "o", "o")
    shows(window, "#counts", "2 of 300 labelled")
    is_saved(window)
    # The list is put in order when the server's answer has come.
    rows = window.locator("#episodes button")
    playwright.expect(rows.nth(298)).to_have_attribute("data-episode", "0")
    playwright.expect(rows.nth(299)).to_have_attribute("data-episode", "299")


def test_a_narrow_window_has_all_buttons(serve, visit):
    window = visit(serve().url)
    window.set_viewport_size({"width": 700, "height": 600})
    boxes = [button.bounding_box() for button in window.locator("main button:visible").all()]
    assert len(boxes) > 8 and all(box["x"] + box["width"] <= 700 for box in boxes)


def test_the_page_says_what_everything_is(serve, visit):
    window = visit(serve().url)
    unnamed = window.evaluate(
        """() => [...document.querySelectorAll('button, select, video, [role]')]
            .filter(node => node.offsetParent && !node.closest('label'))
            .filter(node => !node.getAttribute('aria-label') && !node.textContent.trim())
            .map(node => node.outerHTML)"""
    )
    assert unnamed == []
    # Nothing is cut off at this size, and the tab key reaches the chart, which says where it is.
    assert window.evaluate("() => document.documentElement.scrollHeight <= innerHeight")
    for _ in range(40):
        press(window, "Tab")
        if window.evaluate("() => document.activeElement.getAttribute('role') === 'slider'"):
            break
    assert "frame 0, 0.00 s, reward" in window.evaluate("() => document.activeElement.ariaValueText")
    press(window, "Escape", "v")
    playwright.expect(window.locator("#plot img")).to_be_visible(timeout=20_000)


def test_labels_survive_in_the_formats_of_the_trainer(serve, visit, root):
    window = visit(serve().url)
    press(window, "p", "Shift+ArrowRight", "p", "ArrowRight", "h", "End", "h", "u")
    is_saved(window)
    folder = root / "rewact_extensions"
    assert json.loads((folder / "control_modes.json").read_text())["0"]
    assert json.loads((folder / "outcomes.json").read_text())[0]["outcome"] == "unknown"
