# SPDX-License-Identifier: MIT
"""Advantages of a dataset's actions: computing them, and the file that keeps them beside the dataset."""

from rewact.advantages.file import ADVANTAGES_FILE, AdvantageTable, load_advantages, read_advantage_file

__all__ = ["ADVANTAGES_FILE", "AdvantageTable", "load_advantages", "read_advantage_file"]
