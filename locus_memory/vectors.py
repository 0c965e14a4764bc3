"""Embeddings as unit vectors of 32-bit floats: on these, cosine similarity is a sum of products on every backend."""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterable, Sequence
from operator import mul
from typing import TypeAlias

Vector: TypeAlias = "array[float]"
"""A unit vector; of type code `f`."""

PRECISION = 1e-6
"""By how much scores of equal vectors may differ between backends."""


def unit_vector(numbers: Iterable[float]) -> Vector:
    """Return the vector of length 1 that points the same way.

    Raises:
        ValueError: A number is not finite, or all are zero.
    """
    exact = [float(number) for number in numbers]
    largest = max(map(abs, exact), default=0.0)
    if largest == 0.0 or not all(map(math.isfinite, exact)):
        raise ValueError("write finite numbers, not all of them zero")
    # Divided first, because the square of a large number is infinite, and that of a small one zero.
    scaled = [number / largest for number in exact]
    length = math.hypot(*scaled)
    return array("f", [number / length for number in scaled])


def similarity(one: Sequence[float], other: Sequence[float]) -> float:
    """Return the cosine of the angle between two unit vectors."""
    return math.fsum(map(mul, one, other))
