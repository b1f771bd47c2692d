# SPDX-License-Identifier: MIT
"""The page that `lerobot-recap` ends with."""

import os
from collections.abc import Mapping
from html import escape
from pathlib import Path
from typing import Any
from urllib.parse import quote

from rewact.labels.files import write_atomically

# Where the stages leave pictures and films, below the folder of the run, and what they show.
FIGURES = {
    "value/*.png": "How good the values are",
    "advantages/plots/*.png": "Which actions were better than usual",
    "eval/*/*.png": "Evaluation",
    "eval/*/videos/*/*.mp4": "Evaluation",
}
MAX_FILMS = 6
STYLE = """body{font:16px/1.5 system-ui,sans-serif;max-width:64rem;margin:2rem auto;padding:0 1rem}
img,video{max-width:100%}figcaption{color:#666;font-size:.85em}figure{margin:1rem 0}
td,th{padding:.2rem 1rem .2rem 0;text-align:left}"""


def write_page(path: Path, title: str, comparison: Mapping[str, Mapping[str, Any]] | None) -> None:
    """Write a page with what the stages of a run have drawn and filmed.

    Args:
        path: HTML file in the folder of the run.
        title: Heading.
        comparison: What the policy did under each condition, None without an evaluation.

    Raises:
        OSError: Naming the file, if it cannot be written.
    """
    parts = [f"<h1>{escape(title)}</h1>"]
    if comparison:
        parts += ["<h2>The policy, asked for actions of each kind</h2>", _table(comparison)]
    heading = None
    for pattern, name in FIGURES.items():
        found = sorted(path.parent.glob(pattern))
        if found and name != heading:
            heading = name
            parts.append(f"<h2>{escape(name)}</h2>")
        for file in found[:MAX_FILMS] if pattern.endswith("mp4") else found:
            parts.append(_figure(file.relative_to(path.parent)))
    page = (
        f"<!doctype html><html lang='en'><meta charset='utf-8'><title>{escape(title)}</title>"
        f"<style>{STYLE}</style>{os.linesep.join(parts)}</html>"
    )
    write_atomically(path, lambda temporary: temporary.write_text(page, encoding="utf-8"))


def _figure(file: Path) -> str:
    source, text = quote(file.as_posix()), escape(file.as_posix())
    is_film = file.suffix == ".mp4"
    shown = f"<video controls src='{source}'></video>" if is_film else f"<img src='{source}' alt='{text}'>"
    return f"<figure>{shown}<figcaption>{text}</figcaption></figure>"


def _table(comparison: Mapping[str, Mapping[str, Any]]) -> str:
    rows, has_intervals = [], False
    for condition, result in comparison.items():
        interval = (result.get("intervals") or {}).get("pc_success")
        success = f"{result['pc_success']:.0f} %" if "pc_success" in result else "-"
        ends = f" ({interval[0]:.0f} to {interval[1]:.0f})" if interval else ""
        has_intervals |= interval is not None
        cells = (condition, success + ends, str(result["n_episodes"]))
        rows.append("".join(f"<td>{escape(cell)}</td>" for cell in cells))
    success = "success (95 %)" if has_intervals else "success"
    head = f"<tr><th>asked for</th><th>{success}</th><th>episodes</th></tr>"
    return f"<table>{head}{''.join(f'<tr>{row}</tr>' for row in rows)}</table>"
