# SPDX-License-Identifier: MIT
"""Values of frames: episodes to batches, batches to predictions, predictions to disk."""
