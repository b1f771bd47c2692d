# SPDX-License-Identifier: MIT
"""One seed on one data set, from its demonstrations to its results, and the results of all."""

import argparse
import json
from pathlib import Path

import numpy as np

from rewact.labels.files import read_json, write_atomically

from .data import make_dataset, read_episodes, read_inputs
from .evaluation import advantage_accuracy, evaluate
from .features import load_encode
from .methods import ADVANTAGES, VARIANTS, WEIGHTS, Variant, train_all
from .settings import Settings, require_same_settings


def run_cell(arguments: argparse.Namespace, settings: dict[str, Settings], name: str, seed: int) -> None:
    """Do what is not there of one seed on one data set."""
    task, data_set = name.rsplit("-", 1)
    directory = arguments.output_dir / name / f"seed_{seed}"
    directory.mkdir(parents=True, exist_ok=True)
    of_set = settings[data_set]
    require_same_settings(directory, of_set)
    data = make_dataset(directory / "data", task, data_set, seed, of_set.observations)
    inputs = read_inputs(data)
    encode = load_encode(data, of_set.observations)
    train_all(data, directory, seed, of_set, tuple(arguments.policies), arguments.device)
    for variant in wanted_variants(arguments):
        path = directory / result_file(variant, arguments.episodes)
        if not path.is_file():
            result = evaluate(
                directory, variant, task, inputs, seed, arguments.episodes, of_set.observations, encode
            )
            if (directory / variant.policy / WEIGHTS).is_file():
                result |= read_json(directory / variant.policy / WEIGHTS)
            write_result(path, result)
        rate = np.mean(json.loads(path.read_text())["success"])
        print(f"{name}, seed {seed}, {variant.name}: {rate:.2f}", flush=True)
    path = directory / f"accuracy_{arguments.samples}.json"
    if arguments.samples and (directory / ADVANTAGES).is_file() and not path.is_file():
        accuracy = advantage_accuracy(
            directory / ADVANTAGES,
            read_episodes(data),
            task,
            of_set.n_steps,
            np.random.default_rng(seed),
            arguments.samples,
        )
        write_result(path, accuracy)


def write_result(path: Path, result: dict[str, object]) -> None:
    write_atomically(path, lambda temporary: temporary.write_text(json.dumps(result, indent=2)))


def wanted_variants(arguments: argparse.Namespace) -> list[Variant]:
    return [
        variant
        for variant in VARIANTS
        if variant.policy in arguments.policies and (arguments.diagnostics or not variant.is_diagnostic)
    ]


def result_file(variant: Variant, n_episodes: int) -> str:
    return f"{variant.name.replace(' ', '_')}_{n_episodes}.json"


def value_facts(report: dict[str, dict]) -> dict[str, float]:
    """What a table says of values, from what `compute_advantages_of_features` writes."""
    aurocs = {f"AUROC of {name}": of["auroc"] for name, of in report.items() if name.startswith("success")}
    values = report["values"]
    return {"rank correlation in successes": values["spearman"], "MAE": values["mae"], **aurocs}


def read_results(arguments: argparse.Namespace, names: list[str]) -> dict[str, dict[str, list[dict]]]:
    """What is there by now: for each data set and method, the results of the seeds that are done."""
    files = {variant.name: result_file(variant, arguments.episodes) for variant in wanted_variants(arguments)}
    files["advantages"] = f"accuracy_{arguments.samples}.json"
    files["values"] = "values/values.json"
    results: dict[str, dict[str, list[dict]]] = {}
    for name in names:
        for method, file in files.items():
            paths = [arguments.output_dir / name / f"seed_{seed}" / file for seed in range(arguments.seeds)]
            found = [json.loads(path.read_text()) for path in paths if path.is_file()]
            if method == "values":
                found = [value_facts(report) for report in found]
            if found:
                results.setdefault(name, {})[method] = found
    return results
