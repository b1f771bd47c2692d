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
    of_policy = collect_episodes(labels, predicted)
    seen = trained_episodes(path, meta)
    judgement = judge_models(labels, {"policy": of_policy}, seen)
    sentence, is_warning = describe_training(str(path), seen, judged)
    return {
        **judgement["models"]["policy"],
        "rewards": {episode: prediction.reward for episode, prediction in predicted.items()},
        "controls": judgement["controls"],
        "trained_on": None if seen is None else [episode for episode in judged if episode in seen],
        "remarks": ([sentence] if is_warning else []) + judgement["remarks"],
    }


def judge_models(
    labels: RewardLabels,
    models: Mapping[str, Sequence[EpisodeRewards]],
    seen: set[int] | None,
    detector: CompletionDetector | None = None,
    n_bins: int = 10,
) -> dict[str, Any]:
    """Measure models beside a clock and a constant, on the same episodes.

    Args:
        labels: Labels of the dataset.
        models: The episodes as each model predicts them.
        seen: Episodes that the controls may know, those of training; none or None: all.
        detector: What the predictions would stop; by default that of `stop_on_completion`.
        n_bins: Of the reliability diagram.

    Returns:
        ``models``, of each model ``overall``, ``calibration``, ``per_episode`` and ``stop``, when its
        predictions best say that a task is done; ``controls``, the first two of each control; ``remarks``,
        sentences on what speaks against the figures.
    """
    detector = detector or CompletionDetector()
    reference = sorted(seen) if seen else labels.table.episodes.tolist()
    controls = control_predictions(labels, next(iter(models.values())), reference)

    def measure(episodes: Sequence[EpisodeRewards]) -> dict[str, Any]:
        return {"overall": overall_metrics(episodes, detector), "calibration": calibration(episodes, n_bins)}

    table, done = labels.table, done_by_label(labels)

    def stop(episodes: Sequence[EpisodeRewards]) -> dict[str, Any] | None:
        flags = [done[table.frames_of(e.episode)] for e in episodes]
        return choose_stop([e.prediction for e in episodes], flags, table.fps)

    return {
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
            *(f"{name}: {doubt}" for name, episodes in models.items() for doubt in model_doubts(episodes)),
            *told_apart(models, controls),
        ],
    }
