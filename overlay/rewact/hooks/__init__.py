# SPDX-License-Identifier: MIT
"""What LeRobot's patched lines call: decorators at its definitions, and the names that its registries import.

Nothing here imports more than LeRobot has imported already, until one of our policies or options is used.
"""
