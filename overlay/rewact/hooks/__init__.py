# SPDX-License-Identifier: MIT
"""What LeRobot's patched lines call."""
