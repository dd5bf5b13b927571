"""What was used last."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Generic, TypeVar

K = TypeVar("K")
V = TypeVar("V")


class Kept(Generic[K, V]):
    """The values used last, up to a bound on the sum of their sizes."""

    def __init__(self, bound: int, size: Callable[[V], int]) -> None:
        self._values: OrderedDict[K, V] = OrderedDict()
        self._size = size
        self._left = bound

    def get(self, key: K) -> V | None:
        if key in self._values:
            self._values.move_to_end(key)
        return self._values.get(key)

    def put(self, key: K, value: V) -> None:
        if key in self._values:
            return
        self._values[key] = value
        self._left -= self._size(value)
        while self._left < 0 and len(self._values) > 1:
            self._left += self._size(self._values.popitem(last=False)[1])
