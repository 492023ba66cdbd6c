"""Single mutations of Python source: where one is possible, and the text that it puts there."""

import ast
import copy
import random
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass

COMPARISONS = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
}
ARITHMETIC = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult,
    ast.Mod: ast.FloorDiv,
    ast.Pow: ast.Mult,
    ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd,
}
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
REMOVED = (ast.AugAssign, ast.Raise, ast.Continue, ast.Break, ast.Delete)


@dataclass(frozen=True)
class Mutant:
    path: str  # relative to the package
    kind: str
    line: int
    start: int  # in bytes
    end: int
    new: str
    reached: tuple[int, int] | None  # the lines of the mutated code, where it runs inside a function
    body: tuple[int, int] | None  # the lines of that function

    def apply(self, source: bytes) -> bytes:
        return source[: self.start] + self.new.encode() + source[self.end :]


def choose(sources: dict[str, bytes], count: int, seed: int) -> list[Mutant]:
    """`count` mutants, the kinds in turn, places at random by the seed, at most one a line."""
    by_kind: dict[str, list[Mutant]] = defaultdict(list)
    for path, source in sorted(sources.items()):
        for mutant in mutants(path, source):
            by_kind[mutant.kind].append(mutant)
    rng = random.Random(seed)
    for kind in sorted(by_kind):
        rng.shuffle(by_kind[kind])
    chosen: dict[tuple[str, int], Mutant] = {}
    while len(chosen) < count and any(by_kind.values()):
        for kind in sorted(by_kind):
            while by_kind[kind] and len(chosen) < count:
                mutant = by_kind[kind].pop()
                if (mutant.path, mutant.line) not in chosen and compiles(mutant, sources[mutant.path]):
                    chosen[mutant.path, mutant.line] = mutant
                    break
    return list(chosen.values())


def compiles(mutant: Mutant, source: bytes) -> bool:
    try:
        return bool(ast.parse(mutant.apply(source)))
    except SyntaxError:
        return False


def mutants(path: str, source: bytes) -> Iterator[Mutant]:
    """Every mutant of one file, in the order of the source."""
    offsets = [0]
    for text in source.splitlines(keepends=True):
        offsets.append(offsets[-1] + len(text))
    for node, function, is_default in places(ast.parse(source)):
        body = (function.body[0].lineno, function.end_lineno or 0) if function else None
        reached = body if is_default or not function else (node.lineno, header_end(node))
        whole = [(node, kind, new) for kind, new in changes(node)]
        if isinstance(node, ast.If | ast.While | ast.IfExp):
            whole.append((node.test, "condition", ast.UnaryOp(ast.Not(), node.test)))
        for place, kind, new in whole:
            start = offsets[place.lineno - 1] + place.col_offset
            end = offsets[place.end_lineno - 1] + place.end_col_offset
            text = ast.unparse(new) if isinstance(new, ast.stmt) else f"({ast.unparse(new)})"
            yield Mutant(path, "default" if is_default else kind, node.lineno, start, end, text, reached, body)


def header_end(node: ast.AST) -> int:
    blocks = isinstance(node, ast.If | ast.While | ast.For | ast.With)
    return node.lineno if blocks else node.end_lineno


def places(tree: ast.Module) -> Iterator[tuple[ast.AST, ast.FunctionDef | None, bool]]:
    """Nodes to mutate, with the function around each and whether it is a default value.

    Left out: type hints, decorators, imports, `__all__`, f-strings and texts.
    """

    def walk(node: ast.AST, function: ast.FunctionDef | None, is_default: bool, in_class: bool):
        if isinstance(node, ast.JoinedStr | ast.Import | ast.ImportFrom | ast.Assert) or is_dunder_all(node):
            return
        if isinstance(node, ast.expr | ast.stmt):
            yield node, function, is_default
        if isinstance(node, FUNCTIONS):
            for default in (*node.args.defaults, *filter(None, node.args.kw_defaults)):
                yield from walk(default, node, True, False)
            for child in node.body:
                yield from walk(child, node, False, False)
            return
        for name, value in ast.iter_fields(node):
            if name in ("annotation", "decorator_list", "returns", "type_params"):
                continue
            default = is_default or (in_class and isinstance(node, ast.AnnAssign) and name == "value")
            for child in value if isinstance(value, list) else [value]:
                if isinstance(child, ast.AST):
                    yield from walk(child, function, default, isinstance(node, ast.ClassDef))

    for child in tree.body:
        yield from walk(child, None, False, False)


def is_dunder_all(node: ast.AST) -> bool:
    return isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "__all__"


def changes(node: ast.AST) -> Iterator[tuple[str, ast.expr | ast.stmt]]:
    """(kind, mutated node) of one node."""
    if isinstance(node, ast.Compare):
        for i, op in enumerate(node.ops):
            if type(op) in COMPARISONS:
                yield "comparison", changed(node, ops=[*node.ops[:i], COMPARISONS[type(op)](), *node.ops[i + 1 :]])
    elif isinstance(node, ast.BinOp | ast.AugAssign) and type(node.op) in ARITHMETIC and not is_text(node):
        yield "arithmetic", changed(node, op=ARITHMETIC[type(node.op)]())
    elif isinstance(node, ast.BoolOp):
        yield "condition", changed(node, op=ast.Or() if isinstance(node.op, ast.And) else ast.And())
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not | ast.USub | ast.Invert):
        yield "arithmetic" if isinstance(node.op, ast.USub) else "condition", node.operand
    elif isinstance(node, ast.Constant) and type(node.value) in (bool, int, float):
        value = node.value
        yield "constant", ast.Constant(not value if value is True or value is False else other(value))
    elif isinstance(node, ast.Return) and not isinstance(node.value, ast.Constant | None):
        yield "return", ast.Return(ast.Constant(None))
    elif isinstance(node, ast.Call) and len(node.args) > 1 and swappable(*node.args[:2]):
        yield "arguments", changed(node, args=[node.args[1], node.args[0], *node.args[2:]])
    if isinstance(node, REMOVED) or is_effect(node):
        yield "removal", ast.Pass()


def changed(node: ast.AST, **fields: object) -> ast.AST:
    node = copy.copy(node)
    for name, value in fields.items():
        setattr(node, name, value)
    return node


def other(number: float) -> float:
    return number + 1 if isinstance(number, int) else number * 2 or 1.0


def is_text(node: ast.AST) -> bool:
    return any(isinstance(n, ast.JoinedStr) or isinstance(getattr(n, "value", 0), str) for n in ast.walk(node))


def swappable(first: ast.expr, second: ast.expr) -> bool:
    starred = isinstance(first, ast.Starred) or isinstance(second, ast.Starred)
    return not starred and ast.dump(first) != ast.dump(second)


def is_effect(node: ast.AST) -> bool:
    """A call for its effect, or an assignment to an attribute or an item."""
    if isinstance(node, ast.Assign):
        return isinstance(node.targets[0], ast.Attribute | ast.Subscript)
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Call)
