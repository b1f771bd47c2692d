# SPDX-License-Identifier: MIT
"""Values of every frame from an ensemble that has not seen its episode.

All that is fitted, the projection and the scales included, is fitted on the episodes of the other folds.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy.ndimage import uniform_filter1d
from torch import Tensor
from tqdm import tqdm

from rewact.options.values import ValueOptions
from rewact.values.ensemble import BATCH_SIZE, Ensemble
from rewact.values.feature_cache import FeatureCache
from rewact.values.samples import Samples
from rewact.values.window import MAX_PROJECTION_FRAMES, Window


@dataclass(frozen=True)
class Targets:
    """What the ensembles learn.

    Attributes:
        labels: float32 ``(N,)`` in [0, 1] by absolute frame index.
        done: float32 ``(N,)``: 1 where the task is done, 0 where it is not, NaN where that is not known.
    """

    labels: np.ndarray
    done: np.ndarray


@dataclass(frozen=True)
class Readings:
    """What ensembles say of frames, NaN where they were not asked.

    Attributes:
        values: float32 ``(N,)`` in [0, 1] by absolute frame index.
        done: float32 ``(N,)`` probability that the task is done.
    """

    values: np.ndarray
    done: np.ndarray


def deal_folds(groups: np.ndarray, n_folds: int, seed: int) -> np.ndarray:
    """Deal episodes out to folds at random, so that each has its share of every group.

    Args:
        groups: int ``(E,)``, such as a number for each task and outcome.
        n_folds: At least 2.
        seed: Of the order.

    Returns:
        int64 ``(E,)``.

    Raises:
        ValueError: If there are fewer episodes than folds.
    """
    if len(groups) < n_folds:
        raise ValueError(f"folds must be at most the number of episodes, {len(groups)}, got {n_folds}")
    order = np.random.default_rng(seed).permutation(len(groups))
    order = order[np.argsort(groups[order], kind="stable")]
    folds = np.empty(len(groups), dtype=np.int64)
    folds[order] = np.arange(len(groups)) % n_folds
    return folds


def fit_ensemble(
    cache: FeatureCache,
    keys: Sequence[str],
    targets: Targets,
    rows: np.ndarray,
    options: ValueOptions,
    seed: int,
    device: str | torch.device = "cpu",
) -> Ensemble:
    """Train an ensemble on some episodes.

    Args:
        cache: Features of all of them.
        keys: The streams that it sees.
        targets: What it learns.
        rows: Rows of the episode table.
        options: Its size and training.
        seed: Of all that is random.
        device: Where it is trained.
    """
    table = cache.table
    rng = np.random.default_rng(seed)
    rows = _sample_episodes(rng.permutation(rows), table.lengths, options.max_frames)
    n_frames = int(table.lengths[rows].sum())
    window = make_window(cache, keys, options)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        share = min(MAX_PROJECTION_FRAMES / n_frames, 1.0)
        window.fit_projections(_some_frames(cache, window.keys, rows, share, rng))  # found by chance
        ensemble = Ensemble(window, options)
    samples = _read_samples(cache, window, targets, np.sort(rows), device)
    ensemble.to(device)
    chosen = torch.from_numpy(rng.integers(n_frames, size=MAX_PROJECTION_FRAMES)).to(device)
    window.fit_scale(samples.inputs(window, chosen))
    ensemble.fit(samples, options, seed)
    return ensemble


def make_window(cache: FeatureCache, keys: Sequence[str], options: ValueOptions) -> Window:
    """A window on some streams of a cache, not fitted yet."""
    return Window(
        {stream.key: stream.dim for stream in cache.streams if stream.key in keys},
        [stream.key for stream in cache.streams if stream.dtype == "float32"],
        options.components,
        options.context_components,
        options.lags(cache.table.fps),
        options.use_first_frame,
    )


def _read_samples(
    cache: FeatureCache, window: Window, targets: Targets, rows: np.ndarray, device: str | torch.device
) -> Samples:
    """All frames of some episodes."""
    lengths = cache.table.lengths[rows]
    n_frames = int(lengths.sum())
    latents = torch.empty(n_frames, window.n_latent, dtype=torch.float16)
    ends = np.cumsum(lengths)
    for row, start, end in zip(rows.tolist(), ends - lengths, ends, strict=True):
        latents[start:end] = window.latents(_tensors(cache.read(row), window.keys))
    bounds = (np.repeat(ends - lengths, lengths), np.repeat(ends - 1, lengths))
    index = cache.table.frames(rows)
    parts = (torch.from_numpy(part) for part in (*bounds, targets.labels[index], targets.done[index]))
    return Samples(latents.to(device), *(part.to(device) for part in parts))


def _sample_episodes(rows: np.ndarray, lengths: np.ndarray, max_frames: int) -> np.ndarray:
    """As many of the rows as there is room for, at least one."""
    n_fitting = int(np.searchsorted(np.cumsum(lengths[rows]), max_frames, side="right"))
    return rows[: max(n_fitting, 1)]


def _choose(length: int, share: float, rng: np.random.Generator) -> np.ndarray:
    """A random share of the frames of an episode, at least one."""
    if share >= 1.0:
        return np.arange(length)
    return np.sort(rng.choice(length, max(round(share * length), 1), replace=False))


def _some_frames(
    cache: FeatureCache, keys: Sequence[str], rows: np.ndarray, share: float, rng: np.random.Generator
) -> dict[str, Tensor]:
    parts: dict[str, list[Tensor]] = {key: [] for key in keys}
    for row in rows[: 2 * MAX_PROJECTION_FRAMES].tolist():
        features = _tensors(cache.read(row), keys)
        chosen = _choose(int(cache.table.lengths[row]), share, rng)
        for key in keys:
            parts[key].append(features[key][chosen])
    return {key: torch.cat(tensors) for key, tensors in parts.items()}


def _tensors(features: dict[str, np.ndarray], keys: Sequence[str]) -> dict[str, Tensor]:
    return {key: torch.from_numpy(features[key]) for key in keys}


Order = Callable[[int], np.ndarray]


@torch.inference_mode()
def read_episode(
    ensemble: Ensemble, features: dict[str, np.ndarray], positions: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Values and probabilities of done of an episode.

    Args:
        ensemble: What reads them.
        features: For each stream ``(T, dim)``.
        positions: Frames to show, in this order, as if they were the episode; all by default.

    Returns:
        float32 ``(n,)`` each.
    """
    window = ensemble.window
    shown = {key: features[key] if positions is None else features[key][positions] for key in window.keys}
    device = window.block_scale.device
    latents = window.latents({key: torch.from_numpy(values).to(device) for key, values in shown.items()})
    inputs = window.look_back(latents, latents[0], len(latents))
    parts = [ensemble.read(part) for part in inputs.split(BATCH_SIZE)]
    values, done = (torch.cat(part).float().cpu().numpy() for part in zip(*parts, strict=True))
    return values, done


def read_out_of_fold(
    cache: FeatureCache,
    ensembles: Sequence[Ensemble],
    rows: np.ndarray,
    folds: np.ndarray,
    order: Order | None = None,
) -> Readings:
    """Readings of every frame by the ensemble of its episode's fold.

    Args:
        cache: Features of the episodes.
        ensembles: One per fold, which has not seen the episodes of its fold.
        rows: Rows of the episode table.
        folds: Fold of each.
        order: From an episode's length to the frames of it that are shown; all by default. The reading of a
            frame that is not shown is NaN.
    """
    table = cache.table
    values = np.full(table.n_frames, np.nan, dtype=np.float32)
    done = values.copy()
    for row, fold in zip(rows.tolist(), folds.tolist(), strict=True):
        length = int(table.lengths[row])
        shown = np.arange(length) if order is None else order(length)
        frames = int(table.starts[row]) + shown
        values[frames], done[frames] = read_episode(ensembles[fold], cache.read(row), shown)
    return Readings(values, done)


def smooth_values(values: np.ndarray, episodes: Sequence[slice], reach: int) -> np.ndarray:
    """The mean of each value and of as many before as after it; the ends of an episode are repeated.

    Args:
        values: float32 ``(N,)`` by absolute frame index.
        episodes: Frames of each.
        reach: How many frames before and after; 0 keeps the values.
    """
    smooth = values.copy()
    for frames in episodes:
        smooth[frames] = uniform_filter1d(values[frames], 2 * reach + 1, mode="nearest")
    return smooth


def cross_fit(
    cache: FeatureCache,
    keys: Sequence[str],
    targets: Targets,
    rows: np.ndarray,
    folds: np.ndarray,
    options: ValueOptions,
    seed: int,
    device: str | torch.device = "cpu",
    show_progress: bool = True,
) -> list[Ensemble]:
    """Train an ensemble for each fold, on the episodes of all others."""
    ensembles = []
    for fold in tqdm(range(options.folds), desc="Ensembles", unit="fold", disable=not show_progress):
        others = rows[folds != fold]
        ensembles.append(fit_ensemble(cache, keys, targets, others, options, seed + 1000 * fold, device))
    return ensembles
