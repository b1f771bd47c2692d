# SPDX-License-Identifier: MIT
"""Values from frozen features in the form that LeRobot loads: a checkpoint with a reward head."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from safetensors import safe_open
from torch import Tensor, nn

from lerobot.policies.pretrained import PreTrainedPolicy
from lerobot.utils.constants import OBS_ENV_STATE, OBS_STATE
from rewact.labels.episodes import EpisodeTable
from rewact.values.backbones import Backbone, load_backbone
from rewact.values.configuration_values import ValuesConfig
from rewact.values.ensemble import Ensemble
from rewact.values.feature_cache import episodes_digest
from rewact.values.window import Window

if TYPE_CHECKING:
    from lerobot.datasets.lerobot_dataset import LeRobotDatasetMetadata


# Processes that read a dataset take turns, so the batches of several episodes may be mixed.
MAX_UNDER_WAY = 256


@dataclass
class _Past:
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
        states = [key for key in config.dims if _is_state(key)]
        self.ensembles = nn.ModuleList(
            Ensemble(
                Window(
                    config.dims,
                    states,
                    config.values.components,
                    config.values.context_components,
                    config.lags,
                    config.values.use_first_frame,
                ),
                config.values,
            )
            for _ in range(config.values.folds)
        )
        self.cameras = [key for key in config.dims if key not in states]
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
        features = self._encode(batch)
        if "index" not in batch:
            n = len(next(iter(features.values())))
            rows = [{key: values[i : i + 1] for key, values in features.items()} for i in range(n)]
            return torch.cat([self._read(environment, row, None) for environment, row in enumerate(rows)])
        index, episodes = batch["index"].flatten(), batch["episode_index"].flatten()
        values = []
        changes = torch.nonzero(episodes.diff()).flatten() + 1
        bounds = [0, *changes.tolist(), len(episodes)]
        for start, end in zip(bounds, bounds[1:], strict=False):
            part = {key: stream[start:end] for key, stream in features.items()}
            values.append(self._read(int(episodes[start]), part, int(index[start])))
        return torch.cat(values)

    def _encode(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        if self.cameras and self._backbone is None:
            self._backbone = load_backbone(self.config.features)
        features = {}
        for key in self.config.dims:
            values = batch[key]
            if key in self.cameras:
                # As the cache keeps them.
                values = self._backbone.to(values.device)(values).half()
            features[key] = values.float()
        return features

    def _read(self, episode: int, features: dict[str, Tensor], index: int | None) -> Tensor:
        past = self._past.get(episode)
        if index is not None:
            # Where nothing is known of the dataset, an episode is taken to start where it is first seen.
            if index == self._starts.get(episode, index if past is None else None):
                past = None
            elif past is None or past.next_index != index:
                raise ValueError(
                    f"values look back in time: frame {index} of episode {episode} cannot be read without "
                    "those before it; read the episode from its start, in order"
                )
        n = len(next(iter(features.values())))
        first = {key: values[:1] for key, values in features.items()} if past is None else past.first
        seen = {
            key: values if past is None else torch.cat([past.recent[key], values])
            for key, values in features.items()
        }
        readings = []
        ensembles = [self.ensembles[self._folds[episode]]] if episode in self._folds else self.ensembles
        for ensemble in ensembles:
            window = ensemble.window
            inputs = window.look_back(window.latents(seen), window.latents(first)[0], n)
            readings.append(ensemble.read(inputs)[0])
        reach = self.ensembles[0].window.reach
        recent = {key: values[max(len(values) - reach, 0) :] for key, values in seen.items()}
        self._past.pop(episode, None)
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

    def predict_action_chunk(self, batch: dict[str, Tensor], **kwargs: Any) -> Tensor:
        raise NotImplementedError("a checkpoint of lerobot-train-values has values, but no actions")

    def select_action(self, batch: dict[str, Tensor], **kwargs: Any) -> Tensor:
        raise NotImplementedError("a checkpoint of lerobot-train-values has values, but no actions")


def _is_state(key: str) -> bool:
    return key in (OBS_STATE, OBS_ENV_STATE)
