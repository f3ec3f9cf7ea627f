"""docs/modules.md: every module of the code with the first sentence of its docstring, room by room.

`make modules` writes it, a test compares it with the code.  A module is explained where it stands, and only there; so
this imports nothing but the standard library, and none of what it lists.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

ROOMS = ("stages", "commands", "pipeline")
PAGE = Path("docs") / "modules.md"
HEAD = """\
# Modules

What each module is: the first sentence of its docstring, which has the rest. How the rooms stand to one another is in
[architecture](architecture.md). This page is made by `make modules`; nobody writes it.
"""


def sentence(file: Path) -> str:
    """The first sentence of a module's docstring, without its full stop; empty where there is none."""
    text = ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))) or ""
    paragraph = " ".join(text.split("\n\n")[0].split())
    return re.split(r"\.(?=$| +[A-Z])", paragraph)[0]


def rooms(repository: Path) -> Iterator[Path]:
    """The folders with modules, a top folder before what is in it."""
    for top in ROOMS:
        yield from sorted({file.parent for file in (repository / top).rglob("*.py")})


def page(repository: Path) -> str:
    """The text of docs/modules.md."""
    parts = [HEAD]
    for room in rooms(repository):
        name = room.relative_to(repository).as_posix()
        parts.append(f"\n## {name}\n\n{sentence(room / '__init__.py')}.\n")
        modules = [file for file in sorted(room.glob("*.py")) if file.name != "__init__.py"]
        if modules:
            parts.append("\n" + "".join(f"- `{file.stem}`: {sentence(file)}.\n" for file in modules))
    parts.append("\nNext: [architecture](architecture.md), [back to the README](../README.md)\n")
    return "".join(parts)


if __name__ == "__main__":
    here = Path(__file__).resolve().parents[1]
    (here / PAGE).write_text(page(here), encoding="utf-8")
