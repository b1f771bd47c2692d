# SPDX-License-Identifier: MIT
"""Values from frozen features in the form that LeRobot loads: a checkpoint with a reward head."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from safetensors import safe_open
from torch import Tensor, nn

from lerobot.policies.factory import dataset_to_policy_features  # defined elsewhere in each release
from lerobot.policies.pretrained import PreTrainedPolicy
from rewact.labels.episodes import EpisodeTable
from rewact.labels.files import write_json
from rewact.labels.outcomes import FAILURE
from rewact.values.backbones import Backbone, load_backbone
from rewact.values.checkpoint import TRAIN_CONFIG
from rewact.values.configuration_values import ValuesConfig
from rewact.values.ensemble import Ensemble
from rewact.values.feature_cache import episodes_digest
from rewact.values.processor_values import make_values_pre_post_processors
from rewact.values.window import STATES, Window

if TYPE_CHECKING:
    from lerobot.datasets.lerobot_dataset import LeRobotDatasetMetadata

# Processes that read a dataset take turns, so the batches of several episodes may be mixed.
MAX_UNDER_WAY = 256
# An action is judged by what a tenth of an episode makes of it.
PACE = 10


class _Past(NamedTuple):
    """What an episode has shown so far: the first frame and as many of the last as a window reaches back.

    Attributes:
        first: For each stream (1, dim).
        recent: For each stream (n, dim).
        next_index: Absolute index of the frame that follows, None where frames carry no index.
    """

    first: dict[str, Tensor]
    recent: dict[str, Tensor]
    next_index: int | None


class ValuesPolicy(PreTrainedPolicy):
    """Cross-fitted ensembles on frozen features, asked for values only: it has no actions.

    It remembers what it saw, as its inputs span some seconds: an episode has to be read from its first frame
    on, in order. Batches of a dataset hold consecutive frames of one episode. Batches without an `index` are
    the next observations of as many environments, from `reset` on.

    Args:
        config: Its configuration.
        dataset_meta: Metadata of the dataset that it reads. On an episode that it was trained on, the
            ensemble that has not seen it answers; on all others, the mean of all ensembles.
    """

    config_class = ValuesConfig
    name = "values"

    def __init__(
        self, config: ValuesConfig, dataset_meta: "LeRobotDatasetMetadata | None" = None, **kwargs: Any
    ):
        super().__init__(config)
        options = config.values
        self.ensembles = nn.ModuleList(
            Ensemble(Window(config.dims, config.lags, options), options) for _ in range(options.folds)
        )
        self._backbone: Backbone | None = None  # its weights stay where they come from
        self._starts: dict[int, int] = {}
        self._folds: dict[int, int] = {}
        if dataset_meta is not None:
            table = EpisodeTable.from_metadata(dataset_meta)
            self._starts = dict(zip(table.episodes.tolist(), table.starts.tolist(), strict=True))
            if episodes_digest(table) == config.dataset:
                self._folds = dict(zip(config.episodes, config.folds, strict=True))
        self.reset()

    def reset(self) -> None:
        """Forget what was seen; call at the start of an episode."""
        self._past: dict[int, _Past] = {}

    @torch.inference_mode()
    def predict_reward(self, batch: dict[str, Tensor]) -> Tensor:
        """Values of a batch of preprocessed observations: (B,) float32 in [0, 1].

        Raises:
            ValueError: Naming the frame, if an episode is not read in order.
        """
        features = {key: self._encode(key, batch[key]) for key in self.config.dims}
        n_frames = len(next(iter(features.values())))
        if "index" in batch:
            index, episodes = batch["index"].flatten().tolist(), batch["episode_index"].flatten().tolist()
            starts = [i for i in range(n_frames) if i == 0 or episodes[i] != episodes[i - 1]]
        else:
            index, episodes = [None] * n_frames, list(range(n_frames))
            starts = episodes
        values = []
        for start, end in zip(starts, [*starts[1:], n_frames], strict=True):
            part = {key: stream[start:end] for key, stream in features.items()}
            values.append(self._read(episodes[start], part, index[start]))
        return torch.cat(values)

    def _encode(self, key: str, values: Tensor) -> Tensor:
        if key in STATES:
            return values.float()
        if self._backbone is None:
            self._backbone = load_backbone(self.config.features)
        return self._backbone.to(values.device)(values).half().float()  # as the cache keeps them

    def _read(self, episode: int, features: dict[str, Tensor], index: int | None) -> Tensor:
        """Values of the next frames of an episode; index is that of the first of them."""
        past = self._past.get(episode)
        # Where nothing is known of the dataset, an episode is taken to start where it is first seen.
        if index is not None and index == self._starts.get(episode, index if past is None else None):
            past = None
        elif index is not None and (past is None or past.next_index != index):
            raise ValueError(
                f"values look back in time: frame {index} of episode {episode} cannot be read without those "
                "before it; read the episode from its start, in order"
            )
        n = len(next(iter(features.values())))
        if past is None:
            first, seen = {key: values[:1] for key, values in features.items()}, features
        else:
            first = past.first
            seen = {key: torch.cat([past.recent[key], values]) for key, values in features.items()}
        readings = []
        is_known = index is not None and episode in self._folds  # without an index it is an environment
        for ensemble in [self.ensembles[self._folds[episode]]] if is_known else self.ensembles:
            window = ensemble.window
            inputs = window.look_back(window.latents(seen), window.latents(first)[0], n)
            readings.append(ensemble.read(inputs)[0])
        reach = max(self.config.lags, default=0)
        recent = {key: values[max(len(values) - reach, 0) :] for key, values in seen.items()}
        self._past.pop(episode, None)  # the one read last goes to the end
        self._past[episode] = _Past(first, recent, None if index is None else index + n)
        if index is not None and len(self._past) > MAX_UNDER_WAY:
            del self._past[next(iter(self._past))]
        return torch.stack(readings).mean(0)

    @classmethod
    def _load_as_safetensor(cls, model, model_file: str, map_location: str, strict: bool):
        with safe_open(model_file, framework="pt") as file:
            saved = {name: file.get_slice(name).get_shape() for name in file.keys()}  # noqa: SIM118
        if saved != {name: list(tensor.shape) for name, tensor in model.state_dict().items()}:
            raise ValueError(
                f"{model_file} was written by another version of lerobot-train-values; train the values again"
            )
        return super()._load_as_safetensor(model, model_file, map_location, strict)

    def get_optim_params(self) -> Any:
        return self.parameters()

    def forward(self, batch: dict[str, Tensor], **kwargs: Any) -> Any:
        raise NotImplementedError("values are trained by lerobot-train-values, not by lerobot-train")

    def select_action(self, batch: dict[str, Tensor], **kwargs: Any) -> Tensor:
        raise NotImplementedError("a checkpoint of lerobot-train-values has values, but no actions")

    predict_action_chunk = select_action


def task_pace(table: EpisodeTable, outcomes: np.ndarray) -> int:
    """N for advantages: a tenth of the median length of the episodes that have not failed, at least 1."""
    lengths = table.lengths[outcomes != FAILURE]
    return max(round(float(np.median(lengths if len(lengths) else table.lengths)) / PACE), 1)


def save_checkpoint(
    folder: Path,
    meta: "LeRobotDatasetMetadata",
    ensembles: Sequence[Ensemble],
    folds: Mapping[int, int],
    labels: Mapping[str, Any],
    **options: Any,
) -> None:
    """Write ensembles with their processors, and how they were trained.

    Args:
        folder: The checkpoint.
        meta: Metadata of the dataset that they were trained on.
        ensembles: One per fold.
        folds: For each episode the fold that has not seen it.
        labels: The `RewardLabelsConfig` of what they learned, as JSON values.
        options: The rest of the `ValuesConfig`.

    Raises:
        OSError: If it cannot be written.
    """
    window, features = ensembles[0].window, dataset_to_policy_features(meta.features)
    config = ValuesConfig(
        device="cpu",
        push_to_hub=False,
        input_features={key: features[key] for key in window.keys},
        dims={key: len(part.mean) for key, part in zip(window.keys, window.projections, strict=True)},
        lags=window.lags,
        dataset=episodes_digest(EpisodeTable.from_metadata(meta)),
        episodes=list(folds),
        folds=list(folds.values()),
        **options,
    )
    policy = ValuesPolicy(config)
    for mine, trained in zip(policy.ensembles, ensembles, strict=True):
        mine.load_state_dict(trained.state_dict())
    for part in (policy, *make_values_pre_post_processors(config)):
        part.save_pretrained(folder)
    # No episode is answered by an ensemble that has seen it.
    dataset = {"repo_id": meta.repo_id, "root": str(meta.root), "episodes": [], "reward": dict(labels)}
    write_json(folder / TRAIN_CONFIG, {"dataset": dataset})
