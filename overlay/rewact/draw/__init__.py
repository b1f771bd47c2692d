# SPDX-License-Identifier: MIT
"""Plots and videos of rewards, values and advantages."""
