# SPDX-License-Identifier: MIT
"""What a reward head adds to `ACTPolicy`: rewards beside actions, and readings that leave the queue alone."""

import logging
from collections.abc import Sequence

import torch
from safetensors import safe_open
from torch import Tensor

from lerobot.utils.constants import OBS_IMAGES
from rewact.act.head import RewardDistribution, add_reward_head

logger = logging.getLogger(__name__)


class ACTRewardMixin:
    """Methods of `ACTPolicy` around its reward head.

    Attributes:
        last_predicted_reward: (B,) float32 reward of the last `select_action`, on the policy's device, or
            `None` after `reset` and for a policy without a reward head.
        last_reward_is_forecast: Whether it was planned with an earlier observation, at the start of the
            chunk, and not read from that step's own.
        held_out_rewards: Of each batch of held-out frames since they were last judged, the (B,) int64
            absolute frame indices and the (B,) float32 rewards predicted for them.
    """

    last_predicted_reward: Tensor | None = None
    last_reward_is_forecast: bool = False
    held_out_rewards: Sequence[tuple[Tensor, Tensor]] = ()

    # Parameters that a checkpoint of plain ACT lacks.
    fresh_parameter_prefixes: tuple[str, ...] = ("model.reward_head.",)

    @torch.no_grad()
    def predict_reward(self, batch: dict[str, Tensor]) -> Tensor:
        """Read the (B,) float32 reward, in [0, 1], of a preprocessed observation; the action queue stays."""
        return self._reward_head().mean(self._reward_logits(batch))[:, 0]

    @torch.no_grad()
    def predict_reward_distribution(self, batch: dict[str, Tensor]) -> RewardDistribution:
        """As `predict_reward`, but (B, num_value_bins) probabilities.

        Raises:
            ValueError: If the reward head is not distributional.
        """
        head = self._reward_head()
        if self.config.reward_head_type != "distributional":
            raise ValueError(
                "A distribution needs `reward_head_type=distributional`, as in `--policy.type=rewact`. "
                f"This policy has `reward_head_type={self.config.reward_head_type}`."
            )
        return head.distribution(self._reward_logits(batch)[:, 0])

    # The name that users of rewact 0.1 know.
    get_reward_pred = predict_reward

    def add_image_list(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """A shallow copy with the list of camera images that the network takes."""
        if not self.config.image_features:
            return batch
        return {**batch, OBS_IMAGES: [batch[key] for key in self.config.image_features]}

    @torch.no_grad()
    def select_action_and_reward(
        self, batch: dict[str, Tensor], force_model_run: bool = False
    ) -> tuple[Tensor, Tensor]:
        """Return the next action and the reward of this step.

        Where the network runs to fill the queue, the reward is its reading of this observation. The actions
        that then wait in the queue carry the forecast for their own step, unless the reward is read again at
        it: every `reward_refresh_steps` steps, at every step without a forecast, with `stop_on_completion`
        or `record_predicted_reward`, and wherever `force_model_run` is set. A new reading never changes the
        queued actions.

        Returns:
            (B, action_dim) action and (B,) float32 reward.

        Raises:
            ValueError: If the policy has no reward head.
        """
        self._reward_head()
        if not self.config.fast_path:
            # LeRobot's ACT does so at each action, and walks through all modules for it.
            self.eval()
        if self.config.temporal_ensemble_coeff is not None:
            actions, rewards = self._predict_chunk_and_rewards(batch)
            action, reward = self.temporal_ensembler.update(actions), rewards[:, 0]
            is_forecast = False
        else:
            if len(self._action_queue) == 0:
                actions, rewards = self._predict_chunk_and_rewards(batch)
                # Actions and rewards share the queue, so that clearing it drops both.
                for step in range(self.config.n_action_steps):
                    forecast = rewards[:, step] if step < rewards.shape[1] else None
                    self._action_queue.append((actions[:, step], forecast, step))
            action, reward, step = self._action_queue.popleft()
            is_forecast = step > 0
            if is_forecast and (force_model_run or reward is None or self._is_refresh_step(step)):
                reward, is_forecast = self.predict_reward(batch), False
        self.last_predicted_reward, self.last_reward_is_forecast = reward, is_forecast
        return action, reward

    def _is_refresh_step(self, step: int) -> bool:
        reads_all = self.config.stop_on_completion or self.config.record_predicted_reward
        every = 1 if reads_all else self.config.reward_refresh_steps
        return every is not None and step % every == 0

    def _predict_chunk_and_rewards(self, batch: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """(B, chunk_size, action_dim) actions and (B, T) rewards of one forward pass."""
        self.eval()
        actions, logits = self._predict(batch)
        return actions, self.model.reward_head.mean(logits)

    def _predict(self, batch: dict[str, Tensor]) -> tuple[Tensor, ...]:
        """(B, chunk_size, action_dim) actions and, with the head, (B, T, ...) reward logits."""
        actions, _, *reward_logits = self.model(self.add_image_list(batch))
        return actions, *reward_logits

    def _reward_head(self):
        if self.model.reward_head is None:
            raise ValueError(
                "This policy has no reward head (`use_reward_head=false`). Fine-tune it with "
                "--policy.use_reward_head=true to give it one."
            )
        return self.model.reward_head

    def _reward_logits(self, batch: dict[str, Tensor]) -> Tensor:
        self.eval()
        return self.model(self.add_image_list(batch), reward_only=True)[0]

    def _validate_peft_config(self, peft_config) -> None:
        """Let an adapter train and save what is not of plain ACT as a whole.

        An adapter freezes all other weights and leaves them out of what it saves, which would lose a head
        that starts fresh.
        """
        super()._validate_peft_config(peft_config)  # type: ignore[misc]
        modules = {prefix.split(".")[1] for prefix in self.fresh_parameter_prefixes}
        owned = {name for name in modules if getattr(self.model, name) is not None}
        peft_config.modules_to_save = sorted(owned.union(peft_config.modules_to_save or ()))

    @classmethod
    def _load_as_safetensor(cls, model, model_file: str, map_location: str, strict: bool):
        with safe_open(model_file, framework="pt") as file:
            saved = set(file.keys())
        _read_as_saved(model, saved)
        fresh = sorted(
            name
            for name in model.state_dict()
            if name.startswith(cls.fresh_parameter_prefixes) and name not in saved
        )
        if fresh:
            modules = sorted({name.rsplit(".", 1)[0].removeprefix("model.") for name in fresh})
            logger.warning(
                f"{model_file} has no weights for {', '.join(modules)}: these start fresh and mean nothing "
                "until they are trained."
            )
        return super()._load_as_safetensor(model, model_file, map_location, strict)


def _read_as_saved(policy, saved: set[str]) -> None:
    """Give a policy a head of the kind that its weights are for. Those saved before there was a choice do not
    say it in their configuration."""
    of_head = {name for name in saved if name.startswith("model.reward_head.")}
    kind = "observation" if any(".pooling." in name for name in of_head) else "decoder"
    if policy.config.use_reward_head and of_head and policy.config.reward_head_input != kind:
        policy.config.reward_head_input = kind
        device = next(policy.parameters()).device
        add_reward_head(policy.model)
        policy.model.reward_head.to(device)
