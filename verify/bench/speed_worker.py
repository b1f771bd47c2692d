# SPDX-License-Identifier: MIT
"""One ACT in a process of its own, patched or not: times its steps as `verify.bench.speed` asks for them.

Reads one JSON object a line and answers with one. Nothing here may need this project's package: it also runs
beside LeRobot as it was released.
"""

import json
import os
import sys
import time
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.flop_counter import FlopCounterMode

from lerobot.configs.types import FeatureType, PolicyFeature

STATE_DIM = 14
# Steps are repeated for this long, as one alone may take no more than some hundredths.
MIN_SECONDS = 0.3
# Where each type of policy is, and what its classes begin with.
TYPES = {
    "act": ("lerobot.policies.act", "ACT"),
    "rewact": ("rewact.act", "RewACT"),
    "actvantage": ("rewact.act", "ACTvantage"),
}


class Worker:
    def __init__(self, type: str, cameras: int, size: list[int], batch_size: int, device: str, options: dict):
        package, name = TYPES[type]
        config_class = _named(f"{package}.configuration_{type}.{name}Config")
        policy_class = _named(f"{package}.modeling_{type}.{name}Policy")
        camera = PolicyFeature(FeatureType.VISUAL, (3, *size))
        self.device = device
        self.config = config_class(
            device=device,
            pretrained_backbone_weights=None,
            input_features={
                **{f"observation.images.{i}": camera for i in range(cameras)},
                "observation.state": PolicyFeature(FeatureType.STATE, (STATE_DIM,)),
            },
            output_features={"action": PolicyFeature(FeatureType.ACTION, (STATE_DIM,))},
            **options,
        )
        torch.manual_seed(0)
        self.policy_class = policy_class
        self.policy = policy_class(self.config).to(device)
        self.optimizer = None
        self.observation, self.batch = self.make_batches(batch_size)

    def make_batches(self, batch_size: int) -> tuple[dict, dict]:
        inputs, chunk = self.config.input_features, self.config.chunk_size
        draw = lambda *shape: torch.rand(*shape, device=self.device)  # noqa: E731
        observation = {name: draw(batch_size, *feature.shape) for name, feature in inputs.items()}
        is_pad = torch.zeros(batch_size, chunk, dtype=torch.bool, device=self.device)
        batch = {**observation, "action": draw(batch_size, chunk, STATE_DIM), "action_is_pad": is_pad}
        labels = {}
        if getattr(self.config, "use_reward_head", False):
            labels = {"reward": draw(batch_size, chunk), "reward_is_pad": is_pad}
        if self.config.type == "actvantage":
            labels["advantage"] = torch.ones(batch_size, device=self.device)
        if labels:
            batch = _named("rewact.keys.mark_labels")({**batch, **labels}, list(labels))
        return observation, batch

    def train(self) -> None:
        """One step of `lerobot-train`: forward, backward, clipped gradients, optimiser."""
        self.policy.train()
        if self.optimizer is None:
            preset = self.config.get_optimizer_preset()
            self.optimizer = preset.build(self.policy.get_optim_params())
        self.policy.forward(self.batch)[0].backward()
        torch.nn.utils.clip_grad_norm_(self.policy.parameters(), 10.0)
        self.optimizer.step()
        self.optimizer.zero_grad()

    def chunk(self) -> None:
        """`select_action` at each step of a chunk: the network runs once."""
        self.policy.reset()
        for _ in range(self.config.n_action_steps):
            self.policy.select_action(self.observation)

    def reading(self) -> None:
        """A reading of the reward alone; without a head, a chunk."""
        if getattr(self.config, "use_reward_head", False):
            self.policy.predict_reward(self.observation)
        else:
            self.chunk()

    def seconds(self, step: str, threads: int | None) -> float:
        if threads:
            torch.set_num_threads(threads)
        getattr(self, step)()  # the process before has filled the processor's caches
        start, n_steps = time.perf_counter(), 0
        while time.perf_counter() - start < MIN_SECONDS:
            getattr(self, step)()
            if self.device != "cpu":
                torch.cuda.synchronize()
            n_steps += 1
        return (time.perf_counter() - start) / n_steps

    def operations(self, step: str) -> int:
        """Floating-point operations of the network in a step, as torch counts them: nothing is computed."""
        if "rewact" in sys.modules:
            # Torch's counter does not know the operator of these products.
            _named("rewact.act.fast_ops")._onednn_is_faster = lambda: False
        with FakeTensorMode(allow_non_fake_inputs=True):
            device, self.device = self.device, "cpu"
            policy, (_, batch) = self.policy_class(self.config), self.make_batches(1)
            self.device = device
            batch = {**batch, "observation.images": [batch[key] for key in self.config.image_features]}
            with FlopCounterMode(display=False) as counter:
                if step == "train":
                    actions, latent, *logits = policy.train().model(batch)
                    sum(output.sum() for output in (actions, *latent, *logits)).backward()
                else:
                    is_reading = step == "reading" and getattr(self.config, "use_reward_head", False)
                    policy.eval().requires_grad_(False).model(
                        batch, **({"reward_only": True} if is_reading else {})
                    )
        return counter.get_total_flops()

    def peak_bytes(self) -> int:
        """Most memory that the process, or on a GPU its tensors, have held so far."""
        if self.device != "cpu":
            return torch.cuda.max_memory_allocated()
        status = Path("/proc/self/status").read_text()
        return 1024 * int(status.split("VmHWM:")[1].split()[0])


def _named(name: str) -> Callable:
    module, _, attribute = name.rpartition(".")
    return getattr(import_module(module), attribute)


def main() -> None:
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print is no answer
    worker = Worker(**json.loads(sys.stdin.readline()))
    print(json.dumps("ready"), file=answers, flush=True)
    for line in sys.stdin:
        method, arguments = json.loads(line)
        print(json.dumps(getattr(worker, method)(*arguments)), file=answers, flush=True)


if __name__ == "__main__":
    main()
