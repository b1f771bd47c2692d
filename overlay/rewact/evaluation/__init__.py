# SPDX-License-Identifier: MIT
"""Judging and drawing predicted rewards; what the command-line tools are made of."""
