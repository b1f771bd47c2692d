# SPDX-License-Identifier: MIT
"""Draws the simulated world as a camera beside the table would see it."""

import numpy as np
from PIL import Image, ImageDraw

from verify.demo.simulation import (
    BLOCK_SIZE,
    SHOULDER,
    TRAY_FLOOR,
    TRAY_HALF_WIDTH,
    PickAndPlace,
    forward_kinematics,
)

IMAGE_SIZE = 96
VIEW_WIDTH = 0.83
VIEW_LEFT = -0.170
VIEW_BOTTOM = -0.175
TABLE_BACK, TABLE_FRONT = 0.075, -0.125
OVERSAMPLING = 5

WALL_TOP, WALL_BOTTOM = (200, 206, 212), (208, 213, 218)
TABLE_FAR, TABLE_NEAR = (196, 201, 206), (204, 208, 212)
TABLE_EDGE = (178, 183, 190)
TRAY = (52, 98, 150)
TRAY_INSIDE = (104, 150, 196)
LINK = (214, 132, 24)
LINK_LIGHT = (248, 178, 66)
BASE = (58, 62, 72)
JOINT = (58, 62, 72)
BLOCK = (206, 50, 56)
FINGER = (44, 48, 56)
SHADOW = (112, 118, 128)


class Camera:
    """Renders `PickAndPlace` worlds to square RGB images of a fixed size."""

    def __init__(self, size: int = IMAGE_SIZE):
        self.size = size
        self._canvas_size = size * OVERSAMPLING
        self._scale = self._canvas_size / VIEW_WIDTH
        self._background = self._draw_background()

    def render(self, world: PickAndPlace) -> np.ndarray:
        """The present view, `(size, size, 3)` uint8 RGB."""
        canvas = self._background.copy()
        draw = ImageDraw.Draw(canvas)
        self._draw_shadows(canvas, world)
        self._draw_tray(draw, world, front=False)
        self._draw_arm(draw, world)
        self._draw_block(draw, world)
        self._draw_fingers(draw, world)
        self._draw_tray(draw, world, front=True)
        return np.asarray(canvas.resize((self.size, self.size), Image.Resampling.BOX))

    def _xy(self, point: np.ndarray | tuple[float, float]) -> tuple[float, float]:
        x, y = point
        return (x - VIEW_LEFT) * self._scale, self._canvas_size - (y - VIEW_BOTTOM) * self._scale

    def _box(self, left: float, bottom: float, right: float, top: float) -> tuple[float, float, float, float]:
        x0, y1 = self._xy((left, bottom))
        x1, y0 = self._xy((right, top))
        return x0, y0, x1, y1

    def _draw_background(self) -> Image.Image:
        size = self._canvas_size
        back, front = (int(self._xy((0.0, y))[1]) for y in (TABLE_BACK, TABLE_FRONT))
        rows = np.empty((size, 1, 3))
        rows[:back, 0] = np.linspace(WALL_TOP, WALL_BOTTOM, back)
        rows[back:front, 0] = np.linspace(TABLE_FAR, TABLE_NEAR, front - back)
        rows[front:, 0] = TABLE_EDGE
        return Image.fromarray(np.broadcast_to(rows, (size, size, 3)).astype(np.uint8))

    def _draw_shadows(self, canvas: Image.Image, world: PickAndPlace) -> None:
        """Soft contact shadows; an object's shadow fades and widens as it leaves the table."""
        overlay = Image.new("L", canvas.size, 0)
        draw = ImageDraw.Draw(overlay)
        _, wrist, tip = forward_kinematics(world.joints)
        shadows = [
            (SHOULDER[0], 0.095, 0.0, 120),
            (world.scene.tray_x, TRAY_HALF_WIDTH + 0.016, 0.0, 120),
            (tip[0], 0.060, tip[1], 90),
            (world.block[0], BLOCK_SIZE * 0.62, world.block[1] - BLOCK_SIZE / 2, 130),
        ]
        for x, half_width, height, darkness in shadows:
            half_width *= 1 + height
            alpha = int(darkness * max(0.0, 1 - height / 0.35))
            draw.ellipse(self._box(x - half_width, -0.030, x + half_width, 0.014), fill=alpha)
        canvas.paste(Image.new("RGB", canvas.size, SHADOW), (0, 0), overlay)

    def _draw_tray(self, draw: ImageDraw.ImageDraw, world: PickAndPlace, front: bool) -> None:
        x, half, wall = world.scene.tray_x, TRAY_HALF_WIDTH, 0.014
        if front:
            draw.rectangle(self._box(x - half, -0.006, x + half, TRAY_FLOOR), fill=TRAY)
            for side in (-half, half - wall):
                draw.rectangle(self._box(x + side, -0.006, x + side + wall, 0.056), fill=TRAY)
        else:
            draw.rectangle(self._box(x - half, 0.0, x + half, 0.044), fill=TRAY_INSIDE)

    def _draw_block(self, draw: ImageDraw.ImageDraw, world: PickAndPlace) -> None:
        (x, y), half, color = world.block, BLOCK_SIZE / 2, BLOCK
        radius = 0.008 * self._scale
        dark = tuple(int(c * 0.68) for c in color)
        light = tuple(int(c + (255 - c) * 0.35) for c in color)
        draw.rounded_rectangle(self._box(x - half, y - half, x + half, y + half), radius, fill=dark)
        draw.rounded_rectangle(
            self._box(x - half + 0.004, y - half + 0.008, x + half - 0.004, y + half - 0.003),
            radius,
            fill=color,
        )
        draw.rectangle(
            self._box(x - half + 0.012, y + half - 0.016, x + half - 0.012, y + half - 0.010), fill=light
        )

    def _draw_arm(self, draw: ImageDraw.ImageDraw, world: PickAndPlace) -> None:
        elbow, wrist, _ = forward_kinematics(world.joints)
        x, y = SHOULDER
        draw.polygon(
            [self._xy(p) for p in ((x - 0.085, -0.006), (x + 0.085, -0.006), (x + 0.042, y), (x - 0.042, y))],
            fill=BASE,
        )
        self._draw_link(draw, SHOULDER, elbow, 0.066)
        self._draw_link(draw, elbow, wrist, 0.054)
        for joint, radius in ((SHOULDER, 0.020), (elbow, 0.017), (wrist, 0.014)):
            draw.ellipse(self._disc(joint, radius), fill=JOINT)

    def _draw_link(self, draw: ImageDraw.ImageDraw, start: np.ndarray, end: np.ndarray, width: float) -> None:
        for color, thickness in ((LINK, width), (LINK_LIGHT, width * 0.55)):
            draw.line([self._xy(start), self._xy(end)], fill=color, width=round(thickness * self._scale))
            for point in (start, end):
                draw.ellipse(self._disc(point, thickness / 2), fill=color)

    def _draw_fingers(self, draw: ImageDraw.ImageDraw, world: PickAndPlace) -> None:
        _, wrist, tip = forward_kinematics(world.joints)
        x, top, bottom, width = tip[0], wrist[1], tip[1] - 0.030, 0.017
        gap = (BLOCK_SIZE / 2) * (0.30 + 2.0 * world.opening)
        palm = top - 0.030
        draw.rectangle(self._box(x - 0.013, palm, x + 0.013, top), fill=FINGER)
        draw.rectangle(self._box(x - gap - width, palm - 0.020, x + gap + width, palm), fill=FINGER)
        for side in (x - gap - width, x + gap):
            draw.rectangle(self._box(side, bottom, side + width, palm), fill=FINGER)

    def _disc(self, center: np.ndarray, radius: float) -> tuple[float, float, float, float]:
        return self._box(center[0] - radius, center[1] - radius, center[0] + radius, center[1] + radius)
