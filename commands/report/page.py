"""The pages from their templates: whatever stands in them is escaped.

A drawing marked by `svg.mark_safe` is the only exception.  A name that a template does not know is an error, never an
empty place.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from importlib.resources import files

from jinja2 import Environment, PackageLoader, StrictUndefined

from mimicme.commands.report.svg import format_number

POLICY = (
    "default-src 'none'; script-src 'self' file:; style-src 'self' file:; img-src 'self' file:; "
    "base-uri 'none'; form-action 'none'"
)
"""The content security policy of every page: files of the report alone, and nothing that stands in the page itself.
Opened from a disk, a page has no origin that every browser takes for `'self'`: `file:` says what that is there, and
nothing where the report is served."""


@dataclass(frozen=True)
class Section:
    """A section of the page: its HTML; or, where `failure` is not empty, what went wrong with it."""

    title: str
    body: str = ""
    failure: str = ""


def make_section(title: str, macro: str, collect: Callable[[], object]) -> Section:
    """A section; or what went wrong with it.

    Args:
        macro: in sections.html.j2; it is called with what `collect` gives.
    """
    try:
        return Section(title, body=render_section(macro, collect()))
    except Exception as error:  # whatever it is, the other sections are still worth reading
        return Section(title, failure=f"{type(error).__name__}: {error}")


def render_section(macro: str, shown: object) -> str:
    """The HTML of a section without its title, marked as such: nothing escapes it a second time.

    Args:
        macro: in sections.html.j2.
        shown: of the macro's name in sections.py.
    """
    module = environment().get_template("sections.html.j2").module
    html: str = getattr(module, macro)(shown)
    return html


def render_page(title: str, sections: Sequence[Section], scripts: bool = True) -> str:
    """The whole page as HTML; without `scripts` nothing in it is to be sorted or filtered."""
    page = environment().get_template("report.html.j2")
    return page.render(title=title, sections=sections, scripts=scripts)


def render(template: str, shown: object) -> str:
    """The page of a sequence or of a subject as HTML.

    Args:
        template: name of its file.
        shown: what sections.py gives for it.
    """
    return environment().get_template(template).render(shown=shown)


def asset(name: str) -> str:
    """The text of a script or a style that lies beside the index."""
    return files(str(__package__)).joinpath(name).read_text(encoding="utf-8")


@cache
def look() -> str:
    """Digest of the pages' templates: others make the pages again."""
    texts = [POLICY, *(asset(name) for name in ("sequence.html.j2", "sections.html.j2"))]
    return sha256("\0".join(texts).encode()).hexdigest()


@cache
def environment() -> Environment:
    """Where templates are found, in an installed package and in a checkout alike, and how they are filled in."""
    made = Environment(
        loader=PackageLoader(str(__package__), ""),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    made.filters["number"] = format_number
    made.globals["policy"] = POLICY
    return made
