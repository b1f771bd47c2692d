# SPDX-License-Identifier: MIT
"""From demonstrations to predicted rewards, on data it makes itself: ``python -m verify.demo``."""
