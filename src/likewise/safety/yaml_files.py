"""Read untrusted YAML: plain values only, and a bounded number of them after expanding aliases."""

from typing import TYPE_CHECKING

from likewise.extras import install_line
from likewise.safety import bounds

if TYPE_CHECKING:
    from yaml.nodes import Node

__all__ = ["parsed_yaml"]


def parsed_yaml(text: str) -> object:
    """The value of a YAML document. Errors: ValueError for invalid or too large ones; ModuleNotFoundError."""
    try:
        import yaml
    except ModuleNotFoundError:
        raise ModuleNotFoundError(f"YAML needs PyYAML; install it with: {install_line('yaml')}") from None
    if len(text) > bounds.RECIPE_FILE:
        raise ValueError(
            f"it is {bounds.human(len(text))} long, and at most {bounds.human(bounds.RECIPE_FILE)} are read"
        )
    try:
        check_nodes(yaml.compose(text, Loader=yaml.SafeLoader))
        return yaml.safe_load(text)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    except (yaml.YAMLError, ValueError, TypeError, KeyError, IndexError, AttributeError, OverflowError) as error:
        raise ValueError(" ".join(str(error).split())) from None


def check_nodes(top: "Node | None") -> None:
    """Errors: ValueError for more values than `bounds` allow once aliases are expanded, or an alias inside itself.

    A short text with aliases of aliases stands for billions of values. Nodes are counted where they are defined.
    """
    counts: dict[int, int] = {}

    def count(node: "Node | None") -> int:
        if node is None:
            return 0
        if id(node) not in counts:
            counts[id(node)] = bounds.YAML_NODES + 1  # met again while it is being counted: it contains itself
            inner = node.value if isinstance(node.value, list) else []
            parts = [part for entry in inner for part in (entry if isinstance(entry, tuple) else (entry,))]
            counts[id(node)] = 1 + sum(map(count, parts))
        return counts[id(node)]

    bounds.largest(count(top), bounds.YAML_NODES, "its values with all aliases expanded")
