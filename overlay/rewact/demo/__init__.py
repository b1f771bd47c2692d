# SPDX-License-Identifier: MIT
"""The whole way from demonstrations to predicted rewards, on data it makes itself: ``python -m rewact.demo``."""
