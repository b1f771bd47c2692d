# SPDX-License-Identifier: MIT
"""The predicted reward as a bar at the bottom of a frame."""

import cv2
import numpy as np

_BAR_COLOR = (46, 204, 113)  # RGB
_TEXT_COLOR = (255, 255, 255)


def draw_reward(frame: np.ndarray, reward: float, is_forecast: bool = False) -> np.ndarray:
    """Draw a reward as a bar and a number: filled for a reading, an outline and "~" for a forecast.

    Args:
        frame: (H, W, 3) uint8 RGB; stays as it is.
        reward: In [0, 1]; what lies beyond is drawn as the nearest of these.
        is_forecast: Whether it was planned earlier, and not read from this observation.

    Returns:
        (H, W, 3) uint8 frame.
    """
    frame = np.ascontiguousarray(frame).copy()
    height, width = frame.shape[:2]
    strip = max(height // 12, 11)
    text_scale = strip / 32
    text = f"{'~' if is_forecast else ''}{reward:.2f}"
    thickness = max(round(text_scale * 1.5), 1)
    # As wide as it ever gets, so that the bar does not jump between readings and forecasts.
    (text_width, text_height), _ = cv2.getTextSize("~0.00", cv2.FONT_HERSHEY_SIMPLEX, text_scale, thickness)
    margin = max(strip // 5, 2)

    frame[-strip:] //= 4  # darkened, so that bar and number read well on any background
    left, right = margin, width - text_width - 2 * margin
    top, bottom = height - strip + margin, height - margin - 1
    filled = left + round((right - left) * min(max(reward, 0.0), 1.0))
    cv2.rectangle(frame, (left, top), (right, bottom), _TEXT_COLOR, 1)
    if filled > left:
        cv2.rectangle(frame, (left, top), (filled, bottom), _BAR_COLOR, 1 if is_forecast else -1)
    corner = (width - text_width - margin, height - (strip - text_height) // 2 - 1)
    cv2.putText(
        frame, text, corner, cv2.FONT_HERSHEY_SIMPLEX, text_scale, _TEXT_COLOR, thickness, cv2.LINE_AA
    )
    return frame
