# SPDX-License-Identifier: MIT
"""How good predicted rewards are, with all that a reader needs so as not to be fooled by the figures."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lerobot.configs.policies import PreTrainedConfig
from rewact.judge.completion import CompletionDetector
from rewact.judge.controls import control_predictions
from rewact.judge.doubts import describe_training, model_doubts, told_apart
from rewact.judge.metrics import (
    EpisodeRewards,
    calibration,
    collect_episodes,
    episode_metrics,
    overall_metrics,
)
from rewact.judge.stopping import choose_stop
from rewact.labels import RewardLabels, build_reward_labels
from rewact.options.labels import RewardLabelsConfig
from rewact.options.tools import DataOptions, PredictionOptions
from rewact.values.checkpoint import trained_episodes
from rewact.values.runner import choose_episodes, predict_policy
from rewact.values.targets import done_by_label


def score(
    dataset: Any, path: str | Path, episodes: Sequence[int] | None = None, device: str | None = None
) -> dict[str, Any]:
    """Judge the rewards that a policy predicts for a dataset, as `lerobot-eval-rewards` does.

    Args:
        dataset: A ``LeRobotDataset``; with reward labels around it (``LeRobotDatasetWithReward``), those are
            what is compared with.
        path: The policy's checkpoint: a folder (.../pretrained_model), or a repo id on the Hub.
        episodes: Episodes to judge; by default those of the dataset. Take some that training held out.
        device: Torch device such as "cpu" or "cuda"; by default the one it was trained on, if it is there.

    Returns:
        ``overall``, ``calibration``, ``per_episode`` and ``stop`` of the policy, and ``rewards``, the
        predictions by episode, float32 ``(T,)``; ``controls``, the first two of a clock and of a constant;
        ``trained_on``, those of the episodes that the policy was trained on; ``remarks``, what speaks against
        the figures.

    Raises:
        ValueError: If there is no checkpoint, it has no reward head, or the dataset lacks an episode, labels
            or one of the policy's inputs.
    """
    meta = dataset.meta
    known = getattr(dataset, "labels", None)
    labels = known if isinstance(known, RewardLabels) else build_reward_labels(meta, RewardLabelsConfig())
    chosen = getattr(dataset, "episodes", None) if episodes is None else episodes
    data = DataOptions(meta.repo_id, str(meta.root), None if chosen is None else list(chosen), meta.revision)
    judged = choose_episodes(data, meta)
    labels.require(judged)
    config = PreTrainedConfig.from_pretrained(path)
    config.pretrained_path = Path(path)
    config.device = config.device if device is None else str(device)
    options = PredictionOptions(data, tolerance_s=getattr(dataset, "tolerance_s", 1e-4))
    predicted = predict_policy(options, config, meta, judged)
    judgement = judge_models(labels, {"policy": collect_episodes(labels, predicted)}, str(path))
    return {
        **judgement.pop("models")["policy"],
        "rewards": {episode: prediction.reward for episode, prediction in predicted.items()},
        **judgement,
    }


def judge_models(
    labels: RewardLabels,
    models: Mapping[str, Sequence[EpisodeRewards]],
    checkpoint: str | None = None,
    detector: CompletionDetector | None = None,
    n_bins: int = 10,
) -> dict[str, Any]:
    """Measure models beside a clock and a constant, on the same episodes.

    Args:
        labels: Labels of the dataset.
        models: The episodes as each model predicts them.
        checkpoint: The first of them, if it is a policy. Controls know the episodes that it was trained on;
            where it does not say, or there are none, all.
        detector: What the predictions would stop; by default that of `stop_on_completion`.
        n_bins: Of the reliability diagram.

    Returns:
        ``trained_on``, those of the episodes that the policy was trained on, None if it does not say;
        ``models``, of each model ``overall``, ``calibration``, ``per_episode`` and ``stop``, when its
        predictions best say that a task is done; ``controls``, the first two of each control; ``remarks``,
        sentences on what speaks against the figures.
    """
    detector = detector or CompletionDetector()
    table, done, first = labels.table, done_by_label(labels), next(iter(models.values()))
    judged = [episode.episode for episode in first]
    seen = None if checkpoint is None else trained_episodes(checkpoint, table)
    of_training = None if checkpoint is None else describe_training(checkpoint, seen, judged)
    controls = control_predictions(labels, first, sorted(seen) if seen else table.episodes.tolist())

    def measure(episodes: Sequence[EpisodeRewards]) -> dict[str, Any]:
        return {"overall": overall_metrics(episodes, detector), "calibration": calibration(episodes, n_bins)}

    def stop(episodes: Sequence[EpisodeRewards]) -> dict[str, Any] | None:
        flags = [done[table.frames_of(e.episode)] for e in episodes]
        return choose_stop([e.prediction for e in episodes], flags, table.fps)

    return {
        "trained_on": None if seen is None else [episode for episode in judged if episode in seen],
        "models": {
            name: {
                **measure(episodes),
                "per_episode": [episode_metrics(episode) for episode in episodes],
                "stop": stop(episodes),
            }
            for name, episodes in models.items()
        },
        "controls": {name: measure(episodes) for name, episodes in controls.items()},
        "remarks": [
            *([] if of_training is None else [of_training]),
            *(f"{name}: {doubt}" for name, episodes in models.items() for doubt in model_doubts(episodes)),
            *told_apart(models, controls),
        ],
    }
