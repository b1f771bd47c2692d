# SPDX-License-Identifier: MIT
"""The one look of all plots: colours, axes that cannot flatter, and how a figure becomes a file."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure, SubFigure
from PIL import Image

from rewact.labels.files import write_atomically

LABEL_COLOR = "#6b7280"
TEXT_COLOR = "#111827"
MODEL_COLORS = ("#2563eb", "#ea580c", "#16a34a", "#9333ea", "#dc2626", "#0891b2")
POSITIVE_COLOR = "#16a34a"
WARNING_COLOR = "#b91c1c"
OUTCOME_COLORS = {True: "#15803d", False: WARNING_COLOR, None: TEXT_COLOR}
OUTCOME_WORDS = {True: "success", False: "failure", None: "outcome unknown"}
DIGEST = "Rewards-Digest"
N_THUMBNAILS = 6


def new_figure(width: float, height: float, is_arranged: bool = True) -> Figure:
    """A figure of so many inches, without pyplot, which would change the caller's backend."""
    figure = Figure(figsize=(width, height), layout="constrained" if is_arranged else None)
    FigureCanvasAgg(figure)
    return figure


def save_figure(figure: Figure, path: Path, digest: str | None = None) -> None:
    """Write a PNG in one step.

    Args:
        digest: Of what is drawn, kept in the file for :func:`read_digest`.
    """
    metadata = {} if digest is None else {DIGEST: digest}
    write_atomically(path, lambda file: figure.savefig(file, format="png", dpi=110, metadata=metadata))


def read_digest(path: Path) -> str | None:
    """The digest that a PNG was written with, None if there is no such PNG or it has none."""
    if not path.is_file():
        return None
    with Image.open(path) as image:
        return image.info.get(DIGEST)


def unit_axes(axes: Axes, seconds: float, low: float = 0.0) -> None:
    """Axes of values in [low, low + 1] over an episode. Their scale never follows what is drawn."""
    axes.set_ylim(low - 0.03, low + 1.03)
    axes.set_xlim(0, max(seconds, 1e-3))
    axes.grid(alpha=0.25, linewidth=0.5)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def draw_strip(figure: Figure | SubFigure, images: Sequence[np.ndarray], times: Sequence[float]) -> None:
    """Images ``(H, W, 3)`` uint8 of an episode side by side, each under its time in seconds."""
    places = np.atleast_1d(figure.subplots(1, len(images)))
    for image, time, place in zip(images, times, places, strict=True):
        place.imshow(image)
        place.set_axis_off()
        place.set_title(f"{time:.1f} s", fontsize=8, color=LABEL_COLOR, pad=2)


def thumbnail_frames(length: int) -> np.ndarray:
    """Frames of an episode for :func:`draw_strip`, at equal distances in time."""
    return evenly(np.arange(length), N_THUMBNAILS)


def evenly(positions: np.ndarray, n: int) -> np.ndarray:
    """At most n of them, at equal distances."""
    at = np.linspace(0, len(positions) - 1, min(n, len(positions)))
    return positions[at.round().astype(int)]


def colors(names: Mapping | Sequence) -> dict[str, str]:
    """A colour for each name; they repeat after six."""
    return {name: MODEL_COLORS[i % len(MODEL_COLORS)] for i, name in enumerate(names)}


def write_doubts(figure: Figure, sentences: Sequence[str]) -> None:
    """Write warnings in red across the foot of a figure."""
    if sentences:
        figure.supxlabel("\n".join(sentences), fontsize=9, color=WARNING_COLOR, fontweight="bold", wrap=True)
