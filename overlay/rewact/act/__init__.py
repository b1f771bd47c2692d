# SPDX-License-Identifier: MIT
"""What is added to ACT: the reward head, its loss, the policy types `rewact` and `actvantage`."""
