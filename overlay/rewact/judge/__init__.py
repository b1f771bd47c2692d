# SPDX-License-Identifier: MIT
"""How good predicted rewards are, and whether they say that a task is done."""
