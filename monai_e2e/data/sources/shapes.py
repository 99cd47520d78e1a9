"""Boxes and circles as outlines: ``(row, column)`` points in pixels, whose first one's centre is ``(0, 0)``."""

from __future__ import annotations

import math

Outline = tuple[tuple[float, float], ...]

#: Corners of the polygon that stands for a circle: within 0.2 % of its radius.
_CIRCLE_POINTS = 48


def box_outline(x: float, y: float, width: float, height: float) -> Outline:
    """Outline of a box whose first pixel, top left, is in column ``x`` and row ``y``; none without area."""
    if min(width, height) <= 0:
        return ()
    # From the centre of its first pixel to that of its last: a width of 3 is three pixels.
    right, bottom = x + max(width - 1, 0), y + max(height - 1, 0)
    return ((y, x), (y, right), (bottom, right), (bottom, x))


def ellipse_outline(x: float, y: float, x_radius: float, y_radius: float, turn: float = 0.0) -> Outline:
    """Outline of an ellipse around ``(x, y)``, turned clockwise by ``turn`` radians as shown; none without area."""
    if min(x_radius, y_radius) <= 0:
        return ()
    sine, cosine = math.sin(turn), math.cos(turn)
    points = []
    for step in range(_CIRCLE_POINTS):
        angle = 2 * math.pi * step / _CIRCLE_POINTS
        along, across = x_radius * math.cos(angle), y_radius * math.sin(angle)
        points.append((y + along * sine + across * cosine, x + along * cosine - across * sine))
    return tuple(points)


def circle_outline(x: float, y: float, radius: float) -> Outline:
    """Outline of a circle around ``(x, y)``; none without area."""
    return ellipse_outline(x, y, radius, radius)
