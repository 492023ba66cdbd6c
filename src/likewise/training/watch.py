"""Who watches a training: a function that gets every record as it is logged."""

from collections.abc import Callable

__all__ = ["Watch"]

Watch = Callable[[dict[str, object]], None]
