# SPDX-License-Identifier: MIT
"""Signs that predictions say nothing, told before anybody draws conclusions from them."""

from collections.abc import Collection, Mapping, Sequence
from itertools import combinations

import numpy as np

from rewact.judge.intervals import mean_interval
from rewact.judge.metrics import EpisodeRewards, correlation

MIN_SPREAD = 0.05
MIN_CORRELATION = 0.2


def doubts(values: np.ndarray, target: np.ndarray, target_name: str) -> list[str]:
    """What speaks against values, as sentences; none where nothing does.

    Args:
        values: ``(N,)`` in units of the target, NaN where there are none.
        target: ``(N,)`` what they estimate, NaN where it is not known.
        target_name: What that is called, such as "the labels".
    """
    known = np.isfinite(values)
    if not known.any():
        return []
    low, high = np.quantile(values[known], [0.05, 0.95])
    found = []
    if high - low < MIN_SPREAD:
        found.append(
            f"the values hardly vary: 90 % of them lie between {low:.5g} and {high:.5g}, and what stands out "
            "among them is noise"
        )
    both = known & np.isfinite(target)
    order = correlation(values[both], target[both])
    if order is not None and order < MIN_CORRELATION:
        found.append(f"the values do not follow {target_name}: their rank correlation is {order:.2f}")
    return found


def model_doubts(episodes: Sequence[EpisodeRewards]) -> list[str]:
    """What speaks against the predictions of a model for labelled episodes, see :func:`doubts`."""
    values, labels = (np.concatenate([getattr(e, of) for e in episodes]) for of in ("prediction", "label"))
    return doubts(values, labels, "the labels")


def told_apart(
    models: Mapping[str, Sequence[EpisodeRewards]], controls: Mapping[str, Sequence[EpisodeRewards]]
) -> list[str]:
    """Sentences on models whose errors on the same episodes do not differ beyond chance.

    Args:
        models: Compared with each other and with the controls.
        controls: Not compared with each other.
    """
    errors = {
        name: np.array([np.nanmean(np.abs(e.prediction.astype(np.float64) - e.label)) for e in episodes])
        for name, episodes in {**models, **controls}.items()
    }
    lengths = [len(e.label) for e in next(iter(models.values()), [])]
    of = f"{len(lengths)} episode" + ("s" if len(lengths) != 1 else "")
    found = []
    for first, second in combinations(errors, 2):
        interval = mean_interval(errors[first] - errors[second], lengths)
        if first in models and (interval is None or interval[0] <= 0 <= interval[1]):
            found.append(f"{first} and {second} cannot be told apart by their errors on {of}")
    return found


def describe_training(checkpoint: str, seen: Collection[int] | None, judged: Sequence[int]) -> str | None:
    """A sentence on whether a checkpoint was trained on the episodes it is judged on, None where it was not.

    Args:
        checkpoint: Its path.
        seen: Episodes that it was trained on, None if it does not say.
        judged: The episodes.
    """
    if seen is None:
        return (
            f"{checkpoint} does not say which episodes it was trained on: if they are these, the figures "
            "flatter it"
        )
    known = sum(episode in seen for episode in judged)
    if not known:
        return None
    return (
        f"{known} of the {len(judged)} episodes were in the training set, and these figures flatter it: "
        "judge on held-out episodes, with --dataset.episodes or the --dataset.eval_split of the training"
    )
