# SPDX-License-Identifier: MIT
"""Ports for tests that start several processes, so that such tests can run side by side."""

import socket


def free_port() -> int:
    """A TCP port that nobody listens on."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]
