# SPDX-License-Identifier: MIT
"""Whether a reward head learns more from cross-fitted values than from the clock, where demonstrations pause.

    python -m verify.bench.head_labels --repo-id lerobot/pusht

In half of the episodes a frame is held for 30 to 100 % of the episode's length. A clock goes on during a
pause, and so do labels of source "linear"; the labels that the frames had before are the truth. The values
are learned from the labels of the clock. A small ACT on frozen features, its actions left out, is trained on
labels of either kind, and its readings of held-out episodes are compared with the truth.
"""

import tempfile
from pathlib import Path

import numpy as np
import torch

from lerobot.configs.types import FeatureType, PolicyFeature
from lerobot.datasets.lerobot_dataset import LeRobotDatasetMetadata
from lerobot.utils.constants import ACTION, OBS_ENV_STATE
from rewact.act.configuration_rewact import RewACTConfig
from rewact.act.modeling_rewact import RewACTPolicy
from rewact.cli.common import report_errors
from rewact.judge.values import frame_slices, value_metrics
from rewact.keys import REWARD_KEY, mark_labels
from rewact.labels.episodes import EpisodeTable
from rewact.labels.interpolation import linear_rewards
from rewact.options.values import ValueOptions
from rewact.values.crossfit import Readings, cross_fit, deal_folds, read_out_of_fold
from rewact.values.feature_cache import FeatureCache
from rewact.values.window import MAX_PROJECTION_FRAMES, Projection

from .command import Command
from .values_ablation import format_head, format_row, read_features

COMPONENTS = 64
HELD_OUT = 0.3
BATCH_SIZE = 64


def shown_frames(length: int, rng: np.random.Generator) -> np.ndarray:
    """Which frame of an episode is seen at each step, with a pause in half of the episodes."""
    frames = np.arange(length)
    if rng.random() < 0.5:
        at, pause = rng.integers(length), round(length * rng.uniform(0.3, 1.0))
        frames = np.r_[frames[:at], np.full(pause, at), frames[at:]]
    return frames


def pause(cache: FeatureCache, folder: Path, seed: int) -> tuple[FeatureCache, np.ndarray]:
    """The features of a dataset as if its demonstrations had paused, and the true progress of each frame."""
    rng, table = np.random.default_rng(seed), cache.table
    shown = [shown_frames(length, rng) for length in table.lengths.tolist()]
    lengths = np.array([len(frames) for frames in shown])
    ends = np.cumsum(lengths)
    paused_table = EpisodeTable(
        table.repo_id, folder, table.fps, (), table.episodes, ends - lengths, ends, table.tasks
    )
    paused = FeatureCache.open(folder, paused_table, cache.streams, {"seed": seed})
    for row, frames in enumerate(shown):
        paused.write(row, {key: values[frames] for key, values in cache.read(row).items()})
    curves = np.split(linear_rewards(table.lengths, 0.05, 0.95, np.ones(len(lengths))), table.ends[:-1])
    return paused, np.concatenate([c[f] for c, f in zip(curves, shown, strict=True)]).astype(np.float32)


def train_head(observed: torch.Tensor, labels: torch.Tensor, chosen: torch.Tensor, steps: int, seed: int):
    """Train a small ACT on some frames; returns its readings of all."""
    torch.manual_seed(seed)
    config = RewACTConfig(
        input_features={OBS_ENV_STATE: PolicyFeature(FeatureType.ENV, (observed.shape[1],))},
        output_features={ACTION: PolicyFeature(FeatureType.ACTION, (2,))},
        **{"dim_model": 128, "n_heads": 4, "dim_feedforward": 256, "n_encoder_layers": 2},
        **{"use_vae": False, "chunk_size": 1, "n_action_steps": 1, "device": "cpu", "push_to_hub": False},
    )
    policy = RewACTPolicy(config).train()
    optimizer = torch.optim.AdamW(policy.parameters(), lr=3e-4, weight_decay=1e-2)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    nothing = {
        ACTION: torch.zeros(BATCH_SIZE, 1, 2),
        "action_is_pad": torch.zeros(BATCH_SIZE, 1, dtype=torch.bool),
    }
    for _ in range(steps):
        frames = chosen[torch.randint(len(chosen), (BATCH_SIZE,))]
        batch = {**nothing, OBS_ENV_STATE: observed[frames], REWARD_KEY: labels[frames]}
        loss, _ = policy.forward(mark_labels(batch, (REWARD_KEY,)))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        scheduler.step()
    policy.eval()
    with torch.inference_mode():
        parts = [policy.predict_reward({OBS_ENV_STATE: part}) for part in observed.split(1024)]
    return torch.cat(parts).float().numpy()


def compare(cache: FeatureCache, truth: np.ndarray, steps: int, seed: int) -> dict[str, list[float]]:
    """VOC and MAE against the truth, of labels and of heads trained on them."""
    table = cache.table
    rows = np.arange(len(table.episodes))
    clock = linear_rewards(table.lengths, 0.05, 0.95, np.ones(len(rows))).astype(np.float32)
    unknown = np.full(len(clock), np.nan, dtype=np.float32)
    folds = deal_folds(table.tasks, 5, seed)
    keys = [stream.key for stream in cache.streams]
    ensembles = cross_fit(cache, keys, Readings(clock, unknown), rows, folds, ValueOptions(), seed)
    values = read_out_of_fold(cache, ensembles, rows, folds).values

    held_out = np.random.default_rng(seed).permutation(rows)[: round(HELD_OUT * len(rows))]
    chosen = torch.from_numpy(table.frames(np.setdiff1d(rows, held_out)))
    (camera,) = cache.keys("float16")
    features = torch.cat([torch.from_numpy(cache.read(row)[camera]).half() for row in rows.tolist()])
    projection = Projection(features.shape[1], COMPONENTS)
    torch.manual_seed(seed)
    projection.fit(features[chosen[torch.randperm(len(chosen))[:MAX_PROJECTION_FRAMES]]].float())
    observed = torch.cat([projection(part.float()) for part in features.split(4096)])

    results = {}
    for name, labels in (("clock", clock), ("values", values)):
        readings = train_head(observed, torch.from_numpy(labels), chosen, steps, seed)
        for what, of in ((f"labels: {name}", labels), (f"head on {name}", readings)):
            # Ordered by the truth: during a pause there is no order.
            judged = value_metrics(of, truth, frame_slices(table, held_out))
            results[what] = [judged["spearman"], judged["mae"]]
    return results


def main() -> None:
    parser = Command("bench.head_labels", __doc__)
    parser.add_dataset()
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=600)
    args = parser.parse_args()

    cache = read_features(args, LeRobotDatasetMetadata(args.repo_id, root=args.root))
    results = []
    for seed in range(args.seeds):
        with tempfile.TemporaryDirectory() as folder:
            results.append(compare(*pause(cache, Path(folder), seed), args.steps, seed))
        print(seed, results[-1], flush=True)
    print(format_head(f"{args.repo_id}, with pauses", "rank correlation with the truth", "MAE"))
    for name in results[0]:
        print(format_row(name, [result[name] for result in results]))


if __name__ == "__main__":
    with report_errors():
        main()
