"""The syntax of expressions, as far as their cost depends on it.

The library that evaluates shows nothing of what it parsed, so expressions are parsed here too. What this parser
takes is a part of CEL. Where it and the library could understand something in two ways, it refuses: no comments, no
strings of three quotes, no types, no optional syntax.
"""

import re
from collections.abc import Iterator, Sequence
from typing import Final

import msgspec

from posthouse.core.limits import EXPRESSION_DEPTH_MAX
from posthouse.expressions.errors import ExpressionError

MACROS: Final = frozenset({"all", "exists", "exists_one", "filter", "map"})

_TOKEN: Final = re.compile(
    r"""(?P<space>\s+)
    |(?P<string>[bB]?[rR](?:"[^"\n]*"|'[^'\n]*')|[bB]?(?:"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*'))
    |(?P<number>(?:[0-9]+\.[0-9]+|\.[0-9]+)(?:[eE][+-]?[0-9]+)?|[0-9]+[eE][+-]?[0-9]+|0x[0-9a-fA-F]+u?|[0-9]+u?)
    |(?P<name>[A-Za-z_][A-Za-z0-9_]*)
    |(?P<sign>&&|\|\||[=!<>]=|[<>+\-*/%!?:.,()\[\]{}])""",
    re.VERBOSE | re.ASCII,
)
#: Binary operators, the ones that bind least first.
_LEVELS: Final = (
    frozenset({"||"}),
    frozenset({"&&"}),
    frozenset({"==", "!=", "<", "<=", ">", ">=", "in"}),
    frozenset({"+", "-"}),
    frozenset({"*", "/", "%"}),
)
_CONSTANTS: Final = frozenset({"true", "false", "null"})
_END: Final = ("end", "", 0)

_Token = tuple[str, str, int]


class Literal(msgspec.Struct, frozen=True, tag=True):
    """A constant; ``text`` is its source."""

    text: str


class Name(msgspec.Struct, frozen=True, tag=True):
    """A variable."""

    name: str


class Select(msgspec.Struct, frozen=True, tag=True):
    """``operand.field``."""

    operand: "Node"
    field: str


class Index(msgspec.Struct, frozen=True, tag=True):
    """``operand[key]``."""

    operand: "Node"
    key: "Node"


class Call(msgspec.Struct, frozen=True, tag=True):
    """A function, a method (its receiver is the first argument) or an operator (``?:`` is one too)."""

    name: str
    arguments: tuple["Node", ...]
    is_method: bool = False


class ListOf(msgspec.Struct, frozen=True, tag=True):
    """``[…]``."""

    items: tuple["Node", ...]


class MapOf(msgspec.Struct, frozen=True, tag=True):
    """``{…}``: keys and values in turn."""

    items: tuple["Node", ...]


class Macro(msgspec.Struct, frozen=True, tag=True):
    """A loop over the elements of ``over``, with each element as ``variable``."""

    name: str
    over: "Node"
    variable: str
    bodies: tuple["Node", ...]  #: one; a map with a condition has two


Node = Literal | Name | Select | Index | Call | ListOf | MapOf | Macro


def parse(text: str) -> Node:
    """The tree of an expression. Raises ExpressionError; what is no CEL for other reasons the library refuses."""
    parser = _Parser(list(_tokens(text)))
    tree = parser.expression()
    parser.expect_end()
    return tree


def walk(node: Node) -> Iterator[tuple[Node, int]]:
    """``node`` and everything in it, each with its level; ``node`` has level 1."""
    waiting = [(node, 1)]
    while waiting:
        found, level = waiting.pop()
        yield found, level
        waiting += ((child, level + 1) for child in children(found))


def children(node: Node) -> Sequence[Node]:
    """What stands directly in ``node``."""
    match node:
        case Select(operand, _):
            return (operand,)
        case Index(operand, key):
            return (operand, key)
        case Call(_, arguments):
            return arguments
        case ListOf(items) | MapOf(items):
            return items
        case Macro(_, over, _, bodies):
            return (over, *bodies)
        case _:
            return ()


def _tokens(text: str) -> Iterator[_Token]:
    at = 0
    while at < len(text):
        found = _TOKEN.match(text, at)
        if found is None or found.lastgroup is None:
            raise ExpressionError(f"Nothing of the language begins with {text[at]!r} (character {at + 1}).")
        if found.lastgroup != "space":
            yield found.lastgroup, found[0], at + 1
        at = found.end()


class _Parser:
    """Recursive descent over the tokens of one expression."""

    def __init__(self, tokens: list[_Token]) -> None:
        self._tokens = tokens
        self._at = 0
        self._depth = 0

    def expression(self) -> Node:
        """A condition with its two outcomes, or what stands below it."""
        self._depth += 1
        if self._depth > EXPRESSION_DEPTH_MAX:
            raise ExpressionError(f"It is nested more than {EXPRESSION_DEPTH_MAX} deep.")
        node = self._binary(0)
        if self._takes("?"):
            then = self._binary(0)
            self._expect(":")
            node = Call("?:", (node, then, self.expression()))
        self._depth -= 1
        return node

    def expect_end(self) -> None:
        """Raise ExpressionError if something is left."""
        kind, text, at = self._take()
        if kind != "end":
            raise ExpressionError(f"{text!r} (character {at}) is not expected there.")

    def _binary(self, level: int) -> Node:
        if level == len(_LEVELS):
            return self._unary()
        node = self._binary(level + 1)
        while self._peek()[1] in _LEVELS[level] and self._peek()[0] != "string":
            operator = self._take()[1]
            node = Call(operator, (node, self._binary(level + 1)))
        return node

    def _unary(self) -> Node:
        signs = []
        while self._peek()[1] in {"!", "-"}:
            signs.append(self._take()[1])
        node = self._member()
        for sign in reversed(signs):
            node = Call(sign, (node,))
        return node

    def _member(self) -> Node:
        node = self._primary()
        while True:
            if self._takes("."):
                kind, name, at = self._take()
                if kind != "name":
                    raise ExpressionError(f"A field's name is missing before character {at or 'the end'}.")
                node = self._method(node, name) if self._takes("(") else Select(node, name)
            elif self._takes("["):
                node = Index(node, self.expression())
                self._expect("]")
            else:
                return node

    def _method(self, receiver: Node, name: str) -> Node:
        arguments = self._list(")")
        if name not in MACROS:
            return Call(name, (receiver, *arguments), is_method=True)
        variable, *bodies = arguments or (None,)
        if not isinstance(variable, Name) or len(bodies) not in ({1, 2} if name == "map" else {1}):
            raise ExpressionError(f"{name} takes the name of a variable and an expression, as in {name}(x, x > 0).")
        return Macro(name, receiver, variable.name, tuple(bodies))

    def _primary(self) -> Node:
        kind, text, at = self._take()
        if kind in {"string", "number"} or text in _CONSTANTS:
            return Literal(text)
        if kind == "name" and text != "in":
            return Call(text, self._list(")")) if self._takes("(") else Name(text)
        match text:
            case "(":
                node = self.expression()
                self._expect(")")
                return node
            case "[":
                return ListOf(self._list("]"))
            case "{":
                return MapOf(self._list("}", pairs=True))
            case _:
                where = f"before {text!r} (character {at})" if text else "at the end"
                raise ExpressionError(f"A value is missing {where}.")

    def _list(self, end: str, *, pairs: bool = False) -> tuple[Node, ...]:
        """The expressions up to ``end``, parted by commas; in pairs, also by colons."""
        found: list[Node] = []
        if self._takes(end):
            return ()
        while True:
            found.append(self.expression())
            if pairs:
                self._expect(":")
                found.append(self.expression())
            if self._takes(end):
                return tuple(found)
            self._expect(",")

    def _peek(self) -> _Token:
        return self._tokens[self._at] if self._at < len(self._tokens) else _END

    def _take(self) -> _Token:
        token = self._peek()
        self._at += 1
        return token

    def _takes(self, sign: str) -> bool:
        """Whether the next token is this sign; then it is taken."""
        kind, text, _ = self._peek()
        if kind == "sign" and text == sign:
            self._at += 1
            return True
        return False

    def _expect(self, sign: str) -> None:
        if not self._takes(sign):
            _, text, at = self._peek()
            where = f"before {text!r} (character {at})" if text else "at the end"
            raise ExpressionError(f"{sign!r} is missing {where}.")
