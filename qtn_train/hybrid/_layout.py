"""Layouts: how generated numbers become weights."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from ..errors import must_be


@dataclass(frozen=True)
class Layout:
    """A layout: the start, the scale and the order in which generated numbers become weights.

    Attributes:
        start: ``"random"``: weights are a change to a fixed random start, drawn as torch draws
            initial weights: what the module came with is not used. ``"target"``: weights are a
            change to those that the module came with, for a network that is trained already.
            ``"zeros"``: generated weights stand alone, as published.
        scale: ``"fan_in"``: 1/√fan_in of each tensor times ``gain``; ``"one"``: 1, as published.
        shuffle: Whether a fixed random permutation with random signs deals outcomes to weight
            positions; published: no. Without the signs, a shift of the mapping's output moves
            all weights of a layer together, and training is unstable.
        center: Whether what the initial parameters generate is subtracted, so that training
            begins at the start itself; published: no.
        gain: Factor on every scale. The larger it is, the less the angles have to move.
    """

    start: Literal["random", "target", "zeros"] = "random"
    scale: Literal["fan_in", "one"] = "fan_in"
    shuffle: bool = True
    center: bool = True
    gain: float = 3.0

    def __post_init__(self) -> None:
        if self.start not in ("random", "target", "zeros"):
            raise ValueError(must_be("start", "'random', 'target' or 'zeros'", repr(self.start)))
        if self.scale not in ("fan_in", "one"):
            raise ValueError(must_be("scale", "'fan_in' or 'one'", repr(self.scale)))
        is_number = isinstance(self.gain, int | float)
        if not (is_number and math.isfinite(self.gain) and self.gain > 0):
            raise ValueError(must_be("gain", "a positive number", self.gain))


#: The arrangement of arXiv 2402.16465.
PUBLISHED_LAYOUT = Layout(start="zeros", scale="one", shuffle=False, center=False, gain=1.0)
