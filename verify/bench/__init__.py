# SPDX-License-Identifier: MIT
"""A benchmark of learning from good and bad data, on Meta-World. Run it with `python -m verify.bench --help`."""
