# SPDX-License-Identifier: MIT
"""Exporting to ONNX: translate, compare with torch, convert, measure, write."""

import contextlib
import logging
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor

from rewact.export import benchmark
from rewact.export.exported_policy import ExportedPolicy
from rewact.export.graph import PolicyGraph
from rewact.export.onnx_file import describe_policy, to_float16, to_int8, to_onnx, write_policy
from rewact.export.recordings import BATCH_SIZE, Recordings
from rewact.export.source import Source, in_batches, random_observations
from rewact.judge.values import value_metrics

if TYPE_CHECKING:
    from rewact.cli.export import ExportConfig

N_RUNS = 30

# Largest difference of a float32 graph, of actions in normalised units and of rewards.
TOLERANCE = 1e-4


@contextlib.contextmanager
def new_folder(folder: Path) -> Iterator[Path]:
    """A folder to write to, which gets its name once all is written; it goes where that fails.

    Raises:
        FileExistsError: If it exists.
    """
    if folder.exists():
        raise FileExistsError(f"output folder {folder} exists; give another --output_dir, or remove it")
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}."))
    try:
        yield temporary
        temporary.chmod(0o755)
        temporary.rename(folder)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def export_onnx(
    source: Source, folder: Path, recordings: Recordings | None, settings: "ExportConfig"
) -> dict[str, Any]:
    """Write a policy as a graph with its runtime, compared on recordings or else on random observations.

    Returns:
        What was compared and measured.

    Raises:
        ValueError: If the graph is further from torch than `TOLERANCE`, or int8 has no recordings.
    """
    if settings.precision == "int8" and recordings is None:
        raise ValueError("int8 measures its ranges on a dataset: give --dataset.repo_id")
    if recordings is None:
        observations, kind = random_observations(source, settings.n_observations), "random observations"
        logging.warning("Comparing on random observations; --dataset.repo_id compares on recorded ones")
    else:
        observations = recordings.sample(source, settings.n_observations)
        kind = f"observations of {recordings.repo_id}"
    batches = in_batches(observations, BATCH_SIZE)
    where = f"{len(next(iter(observations.values())))} {kind}"

    graph = PolicyGraph(source.policy, source.normalizer, source.unnormalizer)
    model = to_onnx(graph, source.names, settings.opset)
    metadata = describe_policy(source, graph, None if recordings is None else recordings.meta, "fp32")
    write_policy(folder, model, metadata)
    exported = ExportedPolicy(folder)
    results = {"compared_on": where, **_require_equal(compare(source, exported, batches)[0], where)}
    if settings.precision != "fp32":
        if settings.precision == "int8":
            trained = recordings.sample(source, settings.n_observations, of_training=True)
            model = to_int8(model, in_batches(trained, BATCH_SIZE))
        else:
            model = to_float16(model)
        write_policy(folder, model, {**metadata, "precision": settings.precision})
        exported = ExportedPolicy(folder)
        results |= _accuracy(source, exported, recordings, batches, where, settings)
    if settings.benchmark:
        one = {name: value[:1] for name, value in observations.items()}
        times = benchmark.measure(source, exported, one, N_RUNS)
        processes = benchmark.measure_processes(str(source.config.pretrained_path), folder)
        logging.info("Speed of %s:\n%s", settings.precision, benchmark.describe(times, processes))
        results |= {"times_ms": times, "processes": processes}
    return results


def compare(
    source: Source, exported: ExportedPolicy, batches: Iterable[Mapping[str, Tensor]]
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Run both on batches of N raw observations, by the dataset's names.

    Returns:
        Differences: float64 (N, chunk, A) of "actions" in normalised units, beyond what float32 can tell
        apart in the robot's; with a reward head (N, T + 1) of "rewards", with those read alone. And with a
        head the float32 (N,) rewards of the current step, of "torch" and, read alone, "exported".
    """
    scale = source.action_scale().numpy()
    errors, rewards, alone = [], [], []
    for batch in batches:
        wanted, wanted_rewards = (each if each is None else each.numpy() for each in source.predict(batch))
        arrays = {name: value.numpy() for name, value in batch.items()}
        actions, found_rewards = exported.predict_chunk(arrays)
        gap = np.maximum(np.abs(actions - wanted.astype(np.float64)) - np.spacing(np.abs(wanted)), 0)
        errors.append(np.divide(gap, scale, out=np.zeros_like(gap), where=scale > 0))
        if wanted_rewards is not None:
            alone.append(exported.predict_reward(arrays))
            rewards.append((wanted_rewards, found_rewards))
    differences = {"actions": np.concatenate(errors)}
    if not rewards:
        return differences, {}
    torch_rewards, exported_rewards = (np.concatenate(each) for each in zip(*rewards, strict=True))
    readings = {"torch": torch_rewards[:, 0], "exported": np.concatenate(alone)}
    of_readings = readings["exported"] - readings["torch"]
    of_rewards = np.concatenate([exported_rewards - torch_rewards, of_readings[:, None]], axis=1)
    return {**differences, "rewards": np.abs(of_rewards)}, readings


def _largest(differences: dict[str, np.ndarray]) -> dict[str, float]:
    return {name: float(values.max()) for name, values in differences.items()}


def _require_equal(differences: dict[str, np.ndarray], where: str) -> dict[str, Any]:
    """Stop where a float32 graph is not torch's equal."""
    largest = _largest(differences)
    said = ", ".join(f"{name} {value:.1e}" for name, value in largest.items())
    if not max(largest.values()) <= TOLERANCE:  # NaN is not equal either
        raise ValueError(
            f"the graph differs from torch over {where}, by at most {said} (normalised units; "
            f"{TOLERANCE:.0e} is allowed); nothing was written"
        )
    logging.info("The graph equals torch over %s: largest difference %s (normalised units)", where, said)
    return {"largest_difference": largest}


def _accuracy(
    source: Source,
    exported: ExportedPolicy,
    recordings: Recordings | None,
    batches: list[dict[str, Tensor]],
    where: str,
    settings: "ExportConfig",
) -> dict[str, Any]:
    """What a lower precision costs, on whole episodes where there are any."""
    order = None
    if recordings is None:
        differences, _ = compare(source, exported, batches)
    else:
        episodes, are_held_out = recordings.to_judge(settings.n_episodes)
        differences, readings = compare(source, exported, recordings.batches(source, episodes))
        lengths = [recordings.length(episode) for episode in episodes]
        spans = [slice(end - n, end) for n, end in zip(lengths, np.cumsum(lengths), strict=True)]
        label = readings.get("torch")
        order = {name: value_metrics(read, label, spans)["voc"] for name, read in readings.items()} or None
        kind = "held-out episodes" if are_held_out else "episodes"
        where = f"{kind} {', '.join(map(str, episodes))} of {recordings.repo_id}"
    mean = {name: float(values.mean()) for name, values in differences.items()}
    largest = _largest(differences)
    said = ", ".join(f"{name} {mean[name]:.1e} (at most {largest[name]:.1e})" for name in mean)
    logging.info(
        "Mean difference of %s from torch over %s: %s, actions in normalised units",
        *(settings.precision, where, said),
    )
    if order is not None:
        logging.info("VOC over these: %.3f, torch %.3f", order["exported"], order["torch"])
    return {
        "accuracy_on": where,
        "largest_difference": largest,
        "mean_difference": mean,
        "voc": order,
    }
