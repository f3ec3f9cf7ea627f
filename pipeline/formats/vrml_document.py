"""The text of a VRML file to its nodes; what the nodes show is `vrml`'s.

VRML 1.0, VRML 2.0 (VRML97, ISO/IEC 14772-1) and Open Inventor's ascii files share this syntax: nodes with fields, whose
values are words, texts, lists and nodes; `DEF` names a node and `USE` stands for it again.  No node's fields have to be
known to read it.  Nesting, and the number of words outside lists of numbers, are bounded.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Union

import numpy as np
from numpy.typing import NDArray

from mimicme.pipeline.arrays import Floats, Longs
from mimicme.pipeline.formats.mesh_file import decode_name, fail, parse_numbers

MAX_DEPTH = 200  # nodes and lists in each other; a scan's file has about ten
MAX_WORDS = 100_000  # outside lists of numbers; a scan's file has about a hundred

_SKIP = rb"(?:[\s,]++|\#[^\r\n]*+)*+"
_TOKEN = re.compile(
    rb"(?P<string>\"(?:[^\"\\]++|\\.)*+\")"
    rb"|(?P<numbers>\[(?=" + _SKIP + rb"(?:[-+.\d\]]|(?:nan|inf)\b))(?:[^\[\]{}\"\#]++|\#[^\r\n]*+)*+\])"
    rb"|(?P<mark>[\[\]{}])"
    rb"|(?P<word>(?:0x[0-9a-f]++[\s,]*+){2,}+"  # pixels, which are not read: one word
    rb"|[^\s,\[\]{}\"\#]++)",
    re.DOTALL | re.IGNORECASE,
)
_BLANK = re.compile(_SKIP)
_NUMBER_LIST = re.compile(rb"\[" + _SKIP + rb"(?:[-+.\d]|(?:nan|inf)\b)", re.IGNORECASE)
_COMMENT = re.compile(rb"\#[^\r\n]*+")
_WINDOWS_NAN = re.compile(rb"-?1\.\#\w+")
_WORD = re.compile(rb"[^\s,]++")
_WHOLE = re.compile(rb"[-+]?\d++")
_NUMBER = re.compile(rb"[-+]?(?:(?:\d++(?:\.\d*+)?|\.\d++)(?:e[-+]?\d++)?|nan|inf)", re.IGNORECASE)
_COMMAS = bytes.maketrans(b",", b" ")


@dataclass(eq=False)
class Numbers:
    """A list of numbers, read when it is asked for, and once."""

    text: bytes
    where: str
    _read: dict[Any, NDArray[Any]] = field(default_factory=dict)

    def floats(self, width: int) -> Floats:
        """(n, width) float64.

        Raises:
            MeshFileError: `bad-syntax`: something else than rows of so many numbers.
        """
        if width not in self._read:
            flat = self._parsed(np.float64)
            if len(flat) % width:
                seen = f"{len(flat):,} numbers"
                what = f"a list does not hold {width} numbers a point"
                raise fail("bad-syntax", what, self.where, seen=seen)
            self._read[width] = flat.reshape(-1, width)
        return self._read[width]

    def integers(self) -> Longs:
        """(n,) int64; raises as `floats`."""
        if "integers" not in self._read:
            self._read["integers"] = self._parsed(np.int64)
        return self._read["integers"]

    def _parsed(self, kind: Any) -> NDArray[Any]:
        text = self.text
        if b"#" in text:
            text = _COMMENT.sub(b"", text)
        numbers = parse_numbers(text.translate(_COMMAS), kind)
        if numbers is None:
            fits = _WHOLE if kind is np.int64 else _NUMBER
            odd = next((w.group() for w in _WORD.finditer(text) if not fits.fullmatch(w.group())), None)
            seen = None if odd is None else repr(odd[:40].decode("latin-1"))
            raise fail("bad-syntax", "a list of numbers holds something else", self.where, seen=seen)
        return numbers


Item = Union[bytes, str, Numbers, "Node", list["Item"]]
"""A word, a text, a list of numbers, a node, or a list of such."""


@dataclass(eq=False)
class Node:
    """A node.

    Attributes:
        kind: its type, as `IndexedFaceSet`; '' for the body of a PROTO.
        items: what stands between its braces, in order.
        words: how many words, lists and marks these are, those of the nodes in them too.
    """

    kind: str
    items: list[Item] = field(default_factory=list)
    words: int = 0
    _places: dict[bytes, int] | None = None

    def place(self, name: str) -> int | None:
        """Where in `items` the value of a field stands; None without that field."""
        if self._places is None:
            self._places = {}
            for at, item in enumerate(self.items[:-1]):
                if isinstance(item, bytes):
                    self._places.setdefault(item, at + 1)
        return self._places.get(name.encode())

    def get(self, name: str) -> Item | None:
        """What stands behind a field's name; None without that field."""
        at = self.place(name)
        return None if at is None else self.items[at]

    def node(self, name: str) -> Node | None:
        """The node in a field."""
        found = self.get(name)
        return found if isinstance(found, Node) else None

    def nodes(self, name: str = "") -> Iterator[Node]:
        """The nodes in a field, or, without a name, those that stand in the node itself."""
        found: Item | None = self.items if not name else self.get(name)
        for item in found if isinstance(found, list) else [found]:
            if isinstance(item, Node):
                yield item

    def numbers(self, name: str) -> Numbers | None:
        """The list of numbers in a field."""
        found = self.get(name)
        return found if isinstance(found, Numbers) else None

    def word(self, name: str, otherwise: str) -> str:
        """The word in a field, as `TRUE`."""
        found = self.get(name)
        return found.decode("latin-1") if isinstance(found, bytes) else otherwise

    def text(self, name: str) -> str:
        """The text in a field; the first of several, which VRML prefers; '' without."""
        found = self.get(name)
        if isinstance(found, list):
            found = found[0] if found else None
        return found if isinstance(found, str) else ""

    def vector(self, name: str, otherwise: tuple[float, ...], where: str) -> Floats:
        """The numbers of a field that has so many, without brackets.

        Raises:
            MeshFileError: `bad-syntax`.
        """
        at = self.place(name)
        if at is None:
            return np.asarray(otherwise, np.float64)
        words = [item for item in self.items[at : at + len(otherwise)] if isinstance(item, bytes)]
        numbers = parse_numbers(b" ".join(words), np.float64)
        if numbers is None or len(numbers) != len(otherwise) or not np.isfinite(numbers).all():
            seen = repr(b" ".join(words)[:40].decode("latin-1"))
            what = f"the field '{name}' does not hold {len(otherwise)} numbers"
            raise fail("bad-syntax", what, where, seen=seen)
        return np.asarray(numbers, np.float64)


@dataclass
class _Open:
    """A node or list that is not at its end: its items, the mark that ends it, the node, the name it has by DEF, and
    how many words stand before it."""

    items: list[Item]
    end: bytes
    node: Node | None = None
    name: bytes = b""
    begin: int = 0


def nodes_of(data: bytes, where: str) -> list[Node]:
    """The nodes of a file that stand in no other, in order.

    Args:
        data: the whole file.

    Raises:
        MeshFileError: `truncated`, `too-large` or `bad-syntax`.
    """
    if b".#" in data:
        data = _WINDOWS_NAN.sub(b"nan", data)
    top = _Open([], b"")
    stack, named = [top], dict[bytes, Node]()
    at, words = _after_blank(data, 0), 0
    while at < len(data):
        token = _TOKEN.match(data, at)
        if token is None:
            raise fail("truncated", "the file ends in the middle of a text", where)
        words += 1
        if words > MAX_WORDS:
            raise fail(
                "too-large", "the file is no scan: it has too many nodes", where, seen=f"over {words - 1:,}"
            )
        now, piece = stack[-1].items, token.group()
        if token.lastgroup == "string":
            now.append(_plain(piece))
        elif token.lastgroup == "numbers":
            now.append(Numbers(piece[1:-1], where))
        elif token.lastgroup == "word":
            if now and isinstance(now[-1], bytes) and now[-1] == b"USE":
                now[-1] = named.get(piece, b"NULL")
            else:
                now.append(piece)
        elif piece in b"]}":
            _close(stack, piece, named, words, where)
        else:
            if piece == b"[" and _NUMBER_LIST.match(data, at):
                what = "a list of numbers has no end"
                raise fail("truncated" if data.find(b"]", at) < 0 else "bad-syntax", what, where)
            _open(stack, piece, words, where)
        at = _after_blank(data, token.end())
    if len(stack) > 1:
        raise fail("truncated", "the file ends in the middle of a node", where)
    return [item for item in top.items if isinstance(item, Node)]


def _after_blank(data: bytes, at: int) -> int:
    found = _BLANK.match(data, at)
    return found.end() if found else at


def _open(stack: list[_Open], mark: bytes, words: int, where: str) -> None:
    """Begin a list, or a node, whose type is the word before, with a name if DEF stands before that."""
    if len(stack) > MAX_DEPTH:
        raise fail(
            "bad-syntax", "its nodes are nested too deeply", where, seen=f"over {MAX_DEPTH} in each other"
        )
    now = stack[-1].items
    if mark == b"[":
        inner: list[Item] = []
        now.append(inner)
        stack.append(_Open(inner, b"]"))
        return
    kind = now.pop() if now and isinstance(now[-1], bytes) else b""
    name = b""
    if len(now) > 1 and isinstance(now[-2], bytes) and now[-2] == b"DEF" and isinstance(now[-1], bytes):
        name = now[-1]
        del now[-2:]
    node = Node(kind.decode("latin-1") if isinstance(kind, bytes) else "")
    now.append(node)
    stack.append(_Open(node.items, b"}", node, name, words))


def _close(stack: list[_Open], mark: bytes, named: dict[bytes, Node], words: int, where: str) -> None:
    last = stack[-1]
    if mark != last.end:
        rather = f" in place of '{last.end.decode()}'" if last.end else ", and nothing is open"
        what = "its brackets do not fit each other"
        raise fail("bad-syntax", what, where, seen=f"'{mark.decode()}'{rather}")
    if last.node is not None:
        last.node.words = words - last.begin
        if last.name:
            named[last.name] = last.node  # only now: a node cannot hold itself
    stack.pop()


def _plain(piece: bytes) -> str:
    """A text without its quotes; only a quote and a backslash are escaped by a backslash, as in no path."""
    return decode_name(piece[1:-1].replace(b'\\"', b'"').replace(b"\\\\", b"\\"))
