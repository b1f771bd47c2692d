# SPDX-License-Identifier: MIT
"""Writes what `verify.record` reads. The standard library alone: undo works with nothing installed."""

import json
from dataclasses import replace

from installer.files import write_atomically
from verify.record import Journal, Record, State


def write_state(record: Record, state: State) -> None:
    write_atomically(record.state_path, json.dumps(state.dump(), indent=1).encode())


def write_journal(record: Record, journal: Journal) -> None:
    write_atomically(record.journal_path, json.dumps(journal.dump(), indent=1).encode())


def note_environment(record: Record, prefix: str) -> None:
    """Remembers where it was installed, so that undo can take its console scripts out of there."""
    state = record.state()
    if state is not None and state.environment != prefix:
        write_state(record, replace(state, environment=prefix))
