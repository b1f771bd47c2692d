# SPDX-License-Identifier: MIT
"""Trained policies as files for robots: ONNX graphs with a runtime, and checkpoints of plain ACT."""
