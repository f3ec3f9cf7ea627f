"""The viewer's page: view.html.j2 with style, program and library inside, so that it opens without a network.

Whatever comes from captures or releases is data: JSON whose signs of HTML are escaped, which view.js puts on the page
as text.  A policy in the page (CSP) lets the two scripts run that stand in it, by their digests, and nothing else.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import cache
from importlib.resources import files
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from jinja2.utils import htmlsafe_json_dumps
from markupsafe import Markup

from mimicme.commands.frames import in_order
from mimicme.commands.view.library import three_js
from mimicme.commands.view.scene import ERROR_STEP_MM, ShapeGroup
from mimicme.commands.view.sources import FrameEntry, SequenceEntry
from mimicme.pipeline.drawing.palette import ERROR_TOP_MM, LANDMARKS, MOVED, as_hex
from mimicme.pipeline.errors import MissingDependencyError


def render_page(
    title: str, given: Mapping[str, Any], payloads: Mapping[str, bytes], server: bool = False
) -> str:
    """The whole page as HTML.

    Args:
        given: what view.js begins from; see `common`.
        payloads: packed arrays by the id that view.js asks for; none where a server has them.
        server: whether the page may ask the server that it came from.
    """
    library, program, style = three_js(), _file("view.js"), _file("view.css")
    return (
        _environment()
        .get_template("view.html.j2")
        .render(
            title=title,
            policy=policy(library, program, style, server),
            style=_inside(style),
            library=_inside(library),
            program=_inside(program),
            data=htmlsafe_json_dumps(dict(given)),
            payloads={name: base64.b64encode(data).decode() for name, data in payloads.items()},
        )
    )


def policy(library: str, program: str, style: str, server: bool) -> str:
    """The content security policy of the page."""
    scripts = " ".join(_digest(script) for script in (library, program))
    asks = "'self'" if server else "'none'"
    return (
        f"default-src 'none'; script-src {scripts}; style-src {_digest(style)}; img-src blob: data:; "
        f"connect-src {asks}; base-uri 'none'; form-action 'none'"
    )


def _digest(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _inside(text: str) -> Markup:
    """A script or a style of ours as it stands; never anything that comes from a file of a user's.

    Raises:
        MissingDependencyError: it would end its own element.
    """
    if "</script" in text.lower() or "</style" in text.lower():
        raise MissingDependencyError("the script cannot stand in a page: it ends its own element")
    return Markup(text)


def common(scans: bool, shapes: Sequence[ShapeGroup] = ()) -> dict[str, Any]:
    """What view.js is always given: the colours of errors and landmarks, whether there are scans, and the sliders."""
    from mimicme.pipeline.drawing.render import color_map

    return {
        "colors": color_map(256).reshape(-1).tolist(),
        "sources": [as_hex(color) for color in LANDMARKS],
        "moved": as_hex(MOVED),
        "error_top_mm": ERROR_TOP_MM,
        "error_step_mm": ERROR_STEP_MM,
        "scans": scans,
        "shapes": [
            {name: value for name, value in vars(group).items() if name != "deltas"} for group in shapes
        ],
    }


def described(entry: SequenceEntry) -> dict[str, Any]:
    """A sequence for view.js."""
    return {
        "name": str(entry.item),
        "expression": entry.expression,
        "units": entry.units,
        "meanings": entry.meanings,
        "remark": entry.remark,
        "frames": [_frame(frame) for frame in entry.frames],
    }


def _frame(frame: FrameEntry) -> dict[str, Any]:
    said = asdict(frame)
    said["figures"] = {name: float(f"{frame.figures[name]:.6g}") for name in in_order(frame.figures)}
    return said


def _file(name: str) -> str:
    return files(str(__package__)).joinpath(name).read_text(encoding="utf-8")


@cache
def _environment() -> Environment:
    return Environment(
        loader=PackageLoader(str(__package__), ""),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
