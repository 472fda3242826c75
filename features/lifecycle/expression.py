"""Rules a shop can write: small expressions over features, read without ever running what they say as code.

`frequency >= 2 and overdue_ratio < 2` is parsed by Python's own parser and then walked: numbers, names, comparisons,
and / or / not, + - * /, and the functions below; anything else is refused with its place. Names are features, measures
that the file defines, and the constants of the windows. An absent value makes a comparison false, so a rule never fires
on what is not known; `known(x)` asks.
"""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from features.errors import BadConfiguration
from features.history import Floats

_COMPARE: Mapping[type[ast.cmpop], Callable[[Any, Any], Any]] = {
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Eq: operator.eq,
}
_ARITHMETIC: Mapping[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: lambda a, b: a / np.where(np.asarray(b) == 0, np.nan, b),
}
FUNCTIONS: Mapping[str, Callable[..., Any]] = {
    "known": lambda x: ~np.isnan(x),
    "most": np.fmax,
    "least": np.fmin,
    "either": lambda x, otherwise: np.where(np.isnan(x), otherwise, x),
}
"""known(x): there is a value. most(x, y), least(x, y): the greater, the smaller, of those that are known. either(x, y):
x, or y where x is absent."""


@dataclass(frozen=True)
class Expression:
    """A parsed expression. `names` are the columns it reads."""

    text: str
    where: str
    tree: ast.expr = field(repr=False, compare=False)
    names: frozenset[str] = frozenset()

    def __call__(self, columns: Mapping[str, Any]) -> NDArray[Any]:
        """Its value: float64 or bool of the columns' length (or a scalar, where it reads no column)."""
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.asarray(_value(self.tree, columns))

    @property
    def adds(self) -> bool:
        """Whether it only adds, subtracts or chooses among its columns, so that it has their unit."""
        plain = (ast.Name, ast.Constant, ast.BinOp, ast.Call, ast.Add, ast.Sub, ast.Load)
        return all(isinstance(node, plain) for node in ast.walk(self.tree)) and "known" not in self.text

    def holds(self, columns: Mapping[str, Any], rows: int) -> NDArray[np.bool_]:
        """Where it is true, (rows,)."""
        return np.broadcast_to(self(columns).astype(bool), rows)

    def number(self, columns: Mapping[str, Any], rows: int) -> Floats:
        """Its value as float64 (rows,)."""
        return np.broadcast_to(self(columns).astype(np.float64), rows)


def parse(text: str, where: str) -> Expression:
    """Read an expression. Raises BadConfiguration naming `where` for anything that is not in the little language."""
    try:
        tree = ast.parse(text, mode="eval").body
    except SyntaxError as error:
        raise _refused(f"cannot be read ({error.msg})", text, where) from None
    _check(tree, text, where)
    calls = {id(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}
    names = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and id(node) not in calls}
    return Expression(text, where, tree, frozenset(names))


def _refused(how: str, text: str, where: str) -> BadConfiguration:
    return BadConfiguration(
        f"a rule {how}", where=where, got=text, allowed=f"numbers, names, < <= > >= ==, and or not, + - * /, {_known()}"
    )


def _known() -> str:
    return ", ".join(f"{name}()" for name in FUNCTIONS)


def _check(node: ast.expr, text: str, where: str) -> None:
    """Every node is one the walker knows."""
    children: list[ast.expr] = []
    if isinstance(node, ast.BoolOp):
        children = node.values
    elif isinstance(node, ast.Compare) and all(type(op) in _COMPARE for op in node.ops):
        children = [node.left, *node.comparators]
    elif isinstance(node, ast.BinOp) and type(node.op) in _ARITHMETIC:
        children = [node.left, node.right]
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not | ast.USub):
        children = [node.operand]
    elif (
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id in FUNCTIONS
        and not node.keywords
    ):
        children = node.args
    elif not isinstance(node, ast.Name) and not (
        isinstance(node, ast.Constant) and isinstance(node.value, int | float) and not isinstance(node.value, bool)
    ):
        raise _refused(f"holds what it may not: {ast.unparse(node)}", text, where)
    for child in children:
        _check(child, text, where)


def _value(node: ast.expr, columns: Mapping[str, Any]) -> Any:
    match node:
        case ast.Constant(value=number):
            return number
        case ast.Name(id=name):
            return columns[name]
        case ast.Call(func=ast.Name(id=name), args=parts):
            return FUNCTIONS[name](*(_value(part, columns) for part in parts))
        case _:
            return _combined(node, columns)


def _combined(node: ast.expr, columns: Mapping[str, Any]) -> Any:
    if isinstance(node, ast.UnaryOp):
        inner = _value(node.operand, columns)
        return np.logical_not(inner) if isinstance(node.op, ast.Not) else -inner
    if isinstance(node, ast.BinOp):
        return _ARITHMETIC[type(node.op)](_value(node.left, columns), _value(node.right, columns))
    if isinstance(node, ast.Compare):
        sides = [_value(part, columns) for part in (node.left, *node.comparators)]
        pairs = zip(node.ops, sides, sides[1:], strict=False)
        return np.logical_and.reduce(np.broadcast_arrays(*(_COMPARE[type(op)](a, b) for op, a, b in pairs)))
    if isinstance(node, ast.BoolOp):
        op = np.logical_and if isinstance(node.op, ast.And) else np.logical_or
        return op.reduce(np.broadcast_arrays(*(_value(part, columns) for part in node.values)))
    raise AssertionError(f"{ast.dump(node)} passed the check")
