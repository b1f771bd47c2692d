# SPDX-License-Identifier: MIT
"""Learning from good and bad data on Meta-World, a benchmark: `python -m verify.bench --help`."""
