# SPDX-License-Identifier: MIT
"""What the labelling page asks its server.

All addresses hold numbers of episodes and cameras, never a path.
"""

import json
import logging
import secrets
import tempfile
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Route

from rewact.draw.plots import plot_overview
from rewact.judge.metrics import EpisodeRewards
from rewact.labels.control import as_entries as segment_entries
from rewact.labels.keypoints import as_entries, parse_keypoints
from rewact.labels.label_file import FORMATS, LabelSet, parse_entry
from rewact.options.errors import one_line
from rewact.page.book import GUESSES, ConflictError, LabelBook, drops
from rewact.page.fit import fit_keypoints
from rewact.page.guard import Guard
from rewact.page.media import PLAYABLE, Media
from rewact.page.order import Listing
from rewact.page.predictions import Predictions

TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript"}
# The page's own files, by name: a name in an address is looked up here and never becomes a path.
STATIC = {
    file.name: file.read_bytes()
    for file in (files("rewact.page") / "static").iterdir()
    if Path(file.name).suffix in TYPES
}
MAX_TOLERANCE = 0.5


class LabelPage:
    """The page of one dataset.

    Args:
        book: Its labels.
        media: Its cameras.
        predictions: What a model says.
        notices: Sentences that the page shows.
    """

    def __init__(self, book: LabelBook, media: Media, predictions: Predictions, notices: list[str]) -> None:
        self.book = book
        self.media = media
        self.predictions = predictions
        self.notices = notices
        tasks = [media.table.task_names[task] for task in media.table.tasks]
        self.listing = Listing(book, predictions, tasks)
        # By which a page sees that versions of another run of the server say nothing.
        self.run = secrets.token_hex(8)

    def app(self, host: str, token: str | None) -> Starlette:
        """The web application.

        Args:
            host: Address that it listens on.
            token: What a browser has to know, None if it needs nothing.
        """
        episode = "/api/episodes/{episode:int}"
        routes = [
            Route("/", _static),
            Route("/static/{name}", _static),
            Route("/api/dataset", self._answer(self.dataset)),
            Route("/api/episodes", self._answer(self.episodes)),
            Route("/api/changes", self._answer(self.changes)),
            Route(episode, self._answer(self.episode)),
            Route(f"{episode}/cameras", self._answer(self.cameras)),
            Route(f"{episode}/curve", self._answer(self.curve), methods=["POST"]),
            Route(f"{episode}/fit", self._answer(self.fit), methods=["POST"]),
            Route(f"{episode}/labels", self._answer(self.edit), methods=["PUT"]),
            Route("/api/summary.png", self._answer(self.summary)),
            Route("/media/{episode:int}/{camera:int}", self._answer(self.video)),
            Route("/thumbnails/{episode:int}/{which}", self._answer(self.thumbnail)),
        ]
        return Starlette(
            routes=routes,
            middleware=[Middleware(Guard, host=host, token=token)],
            exception_handlers={HTTPException: _http_error, Exception: _crash},
        )

    def problems(self) -> list[str]:
        """Sentences about what is wrong, which the page shows."""
        return [*self.notices, *self.book.problems, *filter(None, [self.predictions.problem])]

    def dataset(self, request: Request, body: dict[str, Any]) -> Response:
        """What does not change while the page is open."""
        table = self.book.table
        return JSONResponse(
            {
                "repo_id": table.repo_id,
                "fps": table.fps,
                "cameras": self.media.cameras,
                "tasks": sorted(set(self.listing.tasks)),
                "model": self.predictions.name,
                "keypoints_used": "keypoints" in self.book.config.sources,
                "sources": self.book.config.sources,
            }
        )

    def episodes(self, request: Request, body: dict[str, Any]) -> Response:
        """The list, in the order that saves work."""
        self.book.refresh()
        return self._changes_response(self.listing.rows())

    def changes(self, request: Request, body: dict[str, Any]) -> Response:
        """The rows of the list that changed since a version; all of them for a page of another run."""
        self.book.refresh()
        since = request.query_params.get("since", "")
        same_run = request.query_params.get("run") == self.run and since.isascii() and since.isdigit()
        changed = self.book.changed_since(int(since[:12])) if same_run else self.book.episodes
        return self._changes_response([self.listing.row(episode) for episode in changed])

    def episode(self, request: Request, body: dict[str, Any]) -> Response:
        """Labels and curves of an episode."""
        self.book.refresh()
        return JSONResponse(self._detail(self._episode(request)))

    def cameras(self, request: Request, body: dict[str, Any]) -> Response:
        """Where each camera's video of an episode is, or why there is none."""
        episode, plays = self._episode(request), _codecs(request)
        cameras = []
        for number, key in enumerate(self.media.cameras):
            entry: dict[str, Any] = {"name": key.removeprefix("observation.").removeprefix("images.")}
            try:
                clip = self.media.clip(episode, key, plays)
                entry |= {"start": clip.start, "ready": clip.path is not None}
                entry["url"] = f"/media/{episode}/{number}?plays={','.join(sorted(plays))}"
            except (ValueError, OSError) as error:
                entry["problem"] = one_line(error)
            cameras.append(entry)
        return JSONResponse({"cameras": cameras})

    def video(self, request: Request, body: dict[str, Any]) -> Response:
        """A video file, whole or in ranges."""
        number = request.path_params["camera"]
        if number >= len(self.media.cameras):
            raise HTTPException(404, f"there is no camera {number}")
        path = self.media.file(self._episode(request), self.media.cameras[number], _codecs(request))
        return FileResponse(path, media_type="video/mp4", headers={"Cache-Control": "no-cache"})

    def thumbnail(self, request: Request, body: dict[str, Any]) -> Response:
        """The first or last frame of an episode."""
        which = request.path_params["which"]
        if which not in ("first", "last"):
            raise HTTPException(404, "a thumbnail is first or last")
        content = self.media.thumbnail(self._episode(request), last=which == "last")
        return Response(content, media_type="image/jpeg", headers={"Cache-Control": "max-age=3600"})

    def curve(self, request: Request, body: dict[str, Any]) -> Response:
        """The curve that keypoints would give, without storing them."""
        episode, table = self._episode(request), self.book.table
        length, where = table.length(episode), f"episode {episode}"
        curve = self.book.preview(episode, parse_keypoints(body.get("keypoints"), table.fps, length, where))
        return JSONResponse({"curve": _numbers(curve), "drops": drops(curve)})

    def fit(self, request: Request, body: dict[str, Any]) -> Response:
        """The model's curve as few keypoints."""
        episode = self._episode(request)
        tolerance = body.get("tolerance")
        if not isinstance(tolerance, float | int) or not 0 < tolerance <= MAX_TOLERANCE:
            raise ValueError(f"the tolerance must be above 0 and at most {MAX_TOLERANCE}, got {tolerance!r}")
        prediction = self.predictions.get(episode)
        if prediction is None:
            raise ValueError(f"episode {episode} has no prediction, or not yet")
        keypoints = fit_keypoints(prediction.reward, float(tolerance), self.book.config.interpolation)
        return JSONResponse({"keypoints": as_entries(keypoints)})

    def edit(self, request: Request, body: dict[str, Any]) -> Response:
        """Store the labels of an episode; 409 and what is stored, if the page did not start from that."""
        episode = self._episode(request)
        if set(body) != {"base", "labels"}:
            raise ValueError("an edit has 'base', what it started from, and 'labels'")
        try:
            self.book.edit(episode, *(self._labels(episode, body[name]) for name in ("base", "labels")))
        except ConflictError as conflict:
            answer = {"error": str(conflict), **self._detail(episode)}
            return JSONResponse(answer, status_code=409)
        return JSONResponse(self._detail(episode))

    def summary(self, request: Request, body: dict[str, Any]) -> Response:
        """A plot of all labels, with the model's curves where they are there."""
        book = self.book
        known = [episode for episode in book.episodes if book.source(episode) is not None]
        if not known:
            raise ValueError(f"{book.table.repo_id} has no labels to draw")
        success = {"success": True, "failure": False, "unknown": None}

        def rewards(episode: int, prediction: np.ndarray) -> EpisodeRewards:
            return EpisodeRewards(episode, prediction, book.curve(episode), success[book.outcome(episode)])

        labelled = [rewards(episode, book.curve(episode)) for episode in known]
        curves, models = [self.predictions.get(episode) for episode in known], {}
        if all(curve is not None for curve in curves):
            models[self.predictions.name] = [
                rewards(episode, curve.reward) for episode, curve in zip(known, curves, strict=True)
            ]
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "summary.png")
            n_labelled = sum(book.source(episode) not in GUESSES for episode in known)
            title = f"Labels of {book.table.repo_id}, {n_labelled} of {len(book.episodes)} made by somebody"
            plot_overview(path, labelled, models, book.table.fps, title)
            return Response(path.read_bytes(), media_type="image/png")

    def _detail(self, episode: int) -> dict[str, Any]:
        labels, curve = self.book.labels(episode), self.book.curve(episode)
        self.predictions.want(episode)
        prediction = self.predictions.get(episode)
        return {
            "episode": episode,
            "labels": {
                "keypoints": as_entries(labels.keypoints.get(episode, {})),
                "outcome": labels.outcomes.get(episode),
                "control_modes": segment_entries(labels.control_modes.get(episode, [])),
            },
            "curve": _numbers(curve),
            "drops": drops(curve),
            "prediction": prediction and _numbers(prediction.reward),
            "lower": prediction and _numbers(prediction.lower),
            "upper": prediction and _numbers(prediction.upper),
            "row": self.listing.row(episode),
        }

    def _changes_response(self, rows: list[dict[str, Any]]) -> Response:
        answer = {"run": self.run, "version": self.book.version, "problems": self.problems(), "rows": rows}
        return JSONResponse(answer)

    def _episode(self, request: Request) -> int:
        episode = request.path_params["episode"]
        if episode not in self.book.episodes:
            raise HTTPException(404, f"episode {episode} is not on this page")
        return episode

    def _labels(self, episode: int, content: Any) -> LabelSet:
        """Labels of an episode in the form of `_detail`."""
        where = f"episode {episode}"
        if not isinstance(content, dict) or set(content) != {"keypoints", "outcome", "control_modes"}:
            raise ValueError(f"{where}: expected an object with control_modes, keypoints, outcome")
        given = {name: value for name, value in content.items() if value is not None}
        labels = parse_entry(given, self.book.table.length(episode), self.book.table, where)
        return LabelSet(*({episode: labels[kind]} if labels.get(kind) else {} for kind in FORMATS))

    def _answer(self, handler: Callable[[Request, dict[str, Any]], Response]) -> Callable[[Request], Any]:
        """A handler that runs in a thread, and whose errors are sentences."""

        async def answer(request: Request) -> Response:
            body = {}
            try:
                if request.method in ("POST", "PUT"):
                    body = _parse(await request.body())
                return await run_in_threadpool(handler, request, body)
            except ClientDisconnect:
                return Response(status_code=400)  # which nobody reads
            except (ValueError, OSError) as error:
                status = 500 if isinstance(error, OSError) else 400
                return JSONResponse({"error": one_line(error)}, status_code=status)

        return answer


def _parse(body: bytes) -> dict[str, Any]:
    try:
        content = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise ValueError("the request is not valid JSON") from error
    if not isinstance(content, dict):
        raise ValueError("the request is not a JSON object")
    return content


def _codecs(request: Request) -> frozenset[str]:
    return frozenset(request.query_params.get("plays", "").split(",")) & PLAYABLE.keys()


def _numbers(values: np.ndarray | None) -> list[float | None] | None:
    """Exact numbers for JSON, which has no NaN."""
    return None if values is None else [None if np.isnan(value) else float(value) for value in values]


async def _static(request: Request) -> Response:
    name = request.path_params.get("name", "index.html")
    if name not in STATIC:
        raise HTTPException(404, "there is no such file")
    headers = {"Cache-Control": "no-cache"}
    return Response(STATIC[name], media_type=TYPES[Path(name).suffix], headers=headers)


async def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return JSONResponse({"error": error.detail}, status_code=error.status_code)


async def _crash(request: Request, error: Exception) -> Response:
    logging.error("%s %s failed", request.method, request.url.path, exc_info=error)
    return JSONResponse({"error": "the server failed; its terminal says how"}, status_code=500)
