# SPDX-License-Identifier: MIT
"""What install.py does: apply and undo patch sets, make environments, build wheels."""

from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent
