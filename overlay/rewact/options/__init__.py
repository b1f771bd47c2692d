# SPDX-License-Identifier: MIT
"""Dataclasses of flags. Nothing here imports torch."""
