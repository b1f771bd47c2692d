# SPDX-License-Identifier: MIT
"""What is added to ACT: the reward head, its loss, the policy types `rewact` and `actvantage`."""

# LeRobot registers its policies, and ours in their midst. Whoever imports ours first would meet itself there.
import lerobot.policies  # noqa: F401
