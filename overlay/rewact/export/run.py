# SPDX-License-Identifier: MIT
"""Exporting to ONNX: translate, compare, convert, measure, write."""

import logging
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Protocol

from rewact.export import benchmark
from rewact.export.check import TOLERANCE, Comparison, compare
from rewact.export.exported_policy import ExportedPolicy
from rewact.export.folder import describe_policy, write_policy
from rewact.export.graph import PolicyGraph
from rewact.export.onnx_file import to_float16, to_int8, to_onnx
from rewact.export.recordings import BATCH_SIZE, Recordings
from rewact.export.source import Source, in_batches, random_observations

N_RUNS = 30


class Settings(Protocol):
    """What of the options of `lerobot-export` counts here."""

    precision: str
    opset: int
    n_observations: int
    n_episodes: int
    benchmark: bool


def export_onnx(
    source: Source, folder: Path, recordings: Recordings | None, settings: Settings
) -> dict[str, Any]:
    """Write a policy as a graph with its runtime.

    Args:
        source: The policy.
        folder: Where to write.
        recordings: What to compare on; `None` for random observations.
        settings: See `lerobot-export --help`.

    Returns:
        What was compared and measured.

    Raises:
        ValueError: If the graph is further from torch than `TOLERANCE`, or int8 has no recordings.
    """
    if settings.precision == "int8" and recordings is None:
        raise ValueError("int8 measures its ranges on a dataset: give --dataset.repo_id")
    if recordings is None:
        observations, where = random_observations(source, settings.n_observations), "random observations"
        logging.warning("Comparing on random observations; --dataset.repo_id compares on recorded ones")
    else:
        observations = recordings.sample(source, settings.n_observations)
        where = f"observations of {recordings.repo_id}"
    batches = in_batches(observations, BATCH_SIZE)
    where = f"{sum(len(next(iter(batch.values()))) for batch in batches)} {where}"

    graph = PolicyGraph(source.policy, source.normalizer, source.unnormalizer)
    model = to_onnx(graph, source.names, settings.opset)
    meta = None if recordings is None else recordings.meta
    metadata = describe_policy(source, graph, meta, settings.precision)
    results: dict[str, Any] = {"compared_on": where}
    if settings.precision == "fp32":
        write_policy(folder, model, metadata)
        exported = ExportedPolicy(folder)
        results |= _require_equal(compare(source, exported, batches), where)
    else:
        with TemporaryDirectory() as full_precision:
            write_policy(Path(full_precision), model, {**metadata, "precision": "fp32"})
            _require_equal(compare(source, ExportedPolicy(full_precision), batches), where)
        del model.metadata_props[:]
        if settings.precision == "int8":
            trained = recordings.sample_trained(source, settings.n_observations)
            model = to_int8(model, in_batches(trained, BATCH_SIZE))
        else:
            model = to_float16(model)
        write_policy(folder, model, metadata)
        exported = ExportedPolicy(folder)
        results |= _accuracy(source, exported, recordings, batches, where, settings)
    if settings.benchmark:
        one = {name: value[:1] for name, value in observations.items()}
        times = benchmark.measure(source, exported, one, N_RUNS)
        processes = benchmark.measure_processes(str(source.config.pretrained_path), folder)
        logging.info("Speed of %s:\n%s", settings.precision, benchmark.describe(times, processes))
        results |= {"times_ms": times, "processes": processes}
    return results


def _require_equal(comparison: Comparison, where: str) -> dict[str, Any]:
    """Stop where a float32 graph is not torch's equal."""
    largest = comparison.largest()
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
    batches: list,
    where: str,
    settings: Settings,
) -> dict[str, Any]:
    """What a lower precision costs, on whole episodes where there are any."""
    order = None
    if recordings is None:
        comparison = compare(source, exported, batches)
    else:
        episodes, are_held_out = recordings.to_judge(settings.n_episodes)
        comparison = compare(source, exported, list(recordings.batches(source, episodes)))
        order = comparison.order([recordings.length(episode) for episode in episodes])
        kind = "held-out episodes" if are_held_out else "episodes"
        where = f"{kind} {', '.join(map(str, episodes))} of {recordings.repo_id}"
    mean, largest = comparison.mean(), comparison.largest()
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
