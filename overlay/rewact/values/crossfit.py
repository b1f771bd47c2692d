# SPDX-License-Identifier: MIT
"""Values of every frame from an ensemble that has not seen its episode.

All that is fitted, the projection and the scales included, is fitted on the episodes of the other folds.
`keys` are the streams of a cache that ensembles see, `rows` rows of its episode table, and `folds` the fold
of each row.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from rewact.options.values import ValueOptions
from rewact.values.ensemble import BATCH_SIZE, Ensemble, Samples
from rewact.values.feature_cache import FeatureCache
from rewact.values.window import MAX_PROJECTION_FRAMES, Window


class Readings(NamedTuple):
    """What ensembles learn, or say, of frames.

    Attributes:
        values: float32 ``(N,)`` in [0, 1] by absolute frame index, NaN where they were not asked.
        done: float32 ``(N,)``, 1 where the task is done and 0 where it is not, or the probability; NaN where
            that is not known.
    """

    values: np.ndarray
    done: np.ndarray


def deal_folds(groups: np.ndarray, n_folds: int, seed: int | None) -> np.ndarray:
    """Deal episodes out to folds, so that each has its share of every group.

    Args:
        groups: int ``(E,)``, such as a number for each task and outcome.
        n_folds: At least 2.
        seed: Of a random order; None keeps theirs.

    Returns:
        int64 ``(E,)``.

    Raises:
        ValueError: If there are fewer episodes than folds.
    """
    if len(groups) < n_folds:
        raise ValueError(f"folds must be at most the number of episodes, {len(groups)}, got {n_folds}")
    order = np.arange(len(groups)) if seed is None else np.random.default_rng(seed).permutation(len(groups))
    order = order[np.argsort(groups[order], kind="stable")]
    folds = np.empty(len(groups), dtype=np.int64)
    folds[order] = np.arange(len(groups)) % n_folds
    return folds


def cross_fit(
    cache: FeatureCache,
    keys: Sequence[str],
    targets: Readings,
    rows: np.ndarray,
    folds: np.ndarray,
    options: ValueOptions,
    seed: int,
    device: str | torch.device = "cpu",
    show_progress: bool = True,
) -> list[Ensemble]:
    """Train an ensemble for each fold, on the episodes of all others."""
    return [
        fit_ensemble(cache, keys, targets, rows[folds != fold], options, seed + 1000 * fold, device)
        for fold in tqdm(range(options.folds), desc="Ensembles", unit="fold", disable=not show_progress)
    ]


def fit_ensemble(
    cache: FeatureCache,
    keys: Sequence[str],
    targets: Readings,
    rows: np.ndarray,
    options: ValueOptions,
    seed: int,
    device: str | torch.device = "cpu",
) -> Ensemble:
    """Train an ensemble on some episodes."""
    lengths = cache.table.lengths
    rng = np.random.default_rng(seed)
    rows = rng.permutation(rows)
    n_fitting = int(np.searchsorted(np.cumsum(lengths[rows]), options.max_frames, side="right"))
    rows = rows[: max(n_fitting, 1)]
    n_frames = int(lengths[rows].sum())
    dims = {stream.key: stream.dim for stream in cache.streams if stream.key in keys}
    window = Window(dims, options.lags(cache.table.fps), options)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        share = min(MAX_PROJECTION_FRAMES / n_frames, 1.0)
        window.fit_projections(_some_frames(cache, dims, rows, share, rng))  # found by chance
        ensemble = Ensemble(window, options)
    samples = _read_samples(cache, window, targets, np.sort(rows), device)
    ensemble.to(device)
    chosen = torch.from_numpy(rng.integers(n_frames, size=MAX_PROJECTION_FRAMES)).to(device)
    window.fit_scale(samples.inputs(window, chosen))
    ensemble.fit(samples, options, seed)
    return ensemble


def _some_frames(
    cache: FeatureCache, keys: Sequence[str], rows: np.ndarray, share: float, rng: np.random.Generator
) -> dict[str, Tensor]:
    """Features of a random share of the frames of each episode, at least one."""
    parts: dict[str, list[np.ndarray]] = {key: [] for key in keys}
    for row in rows[: 2 * MAX_PROJECTION_FRAMES].tolist():
        length, features = int(cache.table.lengths[row]), cache.read(row)
        chosen = np.arange(length)
        if share < 1.0:
            chosen = np.sort(rng.choice(length, max(round(share * length), 1), replace=False))
        for key in keys:
            parts[key].append(features[key][chosen])
    return {key: torch.from_numpy(np.concatenate(chosen)) for key, chosen in parts.items()}


def _read_samples(
    cache: FeatureCache, window: Window, targets: Readings, rows: np.ndarray, device: str | torch.device
) -> Samples:
    """All frames of some episodes."""
    lengths = cache.table.lengths[rows]
    ends = np.cumsum(lengths)
    starts = ends - lengths
    latents = torch.empty(int(ends[-1]), sum(window.sizes), dtype=torch.float16)
    for row, start, end in zip(rows.tolist(), starts, ends, strict=True):
        latents[start:end] = _latents(window, cache.read(row))
    index = cache.table.frames(rows)
    first, last = np.repeat(starts, lengths), np.repeat(ends - 1, lengths)
    parts = (first, last, targets.values[index], targets.done[index])
    return Samples(latents.to(device), *(torch.from_numpy(part).to(device) for part in parts))


def _latents(window: Window, features: dict[str, np.ndarray]) -> Tensor:
    device = window.block_scale.device
    return window.latents({key: torch.from_numpy(features[key]).to(device) for key in window.keys})


@torch.inference_mode()
def read_episode(ensemble: Ensemble, features: dict[str, np.ndarray], shown: np.ndarray) -> Readings:
    """Values and probabilities of done of an episode, ``(n,)`` each.

    Args:
        ensemble: What reads them.
        features: For each stream ``(T, dim)``.
        shown: int64 ``(n,)`` frames to show, in this order, as if they were the episode.
    """
    latents = _latents(ensemble.window, {key: values[shown] for key, values in features.items()})
    inputs = ensemble.window.look_back(latents, latents[0], len(latents))
    parts = [ensemble.read(part) for part in inputs.split(BATCH_SIZE)]
    return Readings(*(torch.cat(part).float().cpu().numpy() for part in zip(*parts, strict=True)))


def read_out_of_fold(
    cache: FeatureCache,
    ensembles: Sequence[Ensemble],
    rows: np.ndarray,
    folds: np.ndarray,
    order: Callable[[int], np.ndarray] = np.arange,
) -> Readings:
    """Readings of every frame by the ensemble of its episode's fold.

    Args:
        order: From an episode's length to the frames of it that are shown; all by default. The reading of a
            frame that is not shown is NaN.
    """
    table = cache.table
    readings = Readings(*np.full((2, table.n_frames), np.nan, dtype=np.float32))
    for row, fold in zip(rows.tolist(), folds.tolist(), strict=True):
        shown = order(int(table.lengths[row]))
        frames = int(table.starts[row]) + shown
        of_episode = read_episode(ensembles[fold], cache.read(row), shown)
        readings.values[frames], readings.done[frames] = of_episode
    return readings
