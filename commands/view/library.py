"""three.js, the library that draws: read from the wheel of trimesh, whose own viewer it is part of.

None of it is in this repository.  three.js is under the MIT licence, whose notice stands at the head of the script.
"""

from __future__ import annotations

import re
import zipfile
from importlib.util import find_spec
from pathlib import Path

from mimicme.pipeline.errors import MissingDependencyError

PLACE = ("resources", "templates", "viewer.zip")
NAME = "viewer.html.template"
MAX_BYTES = 8 << 20
# the notice, and after it the minified library, one line that puts itself under the name `THREE`; what follows in the
# template is trimesh's own viewer
_SCRIPT = re.compile(
    r"/\*\*(?:(?!\*/).)*?Three\.js Authors(?:(?!\*/).)*\*/\s*(?:[^\n]+\.THREE=\{\}[^\n]+)", re.S
)
_TODO = "Run `make install`, or `pip install 'trimesh>=4.4,<6'`."


def three_js() -> str:
    """The script, which gives a page the global `THREE`.

    Raises:
        MissingDependencyError: trimesh is not installed, or this version of it brings no three.js.
    """
    spec = find_spec("trimesh")
    for folder in (spec.submodule_search_locations or []) if spec else []:
        script = read_script(Path(folder).joinpath(*PLACE))
        if script:
            return script
    what = "brings no three.js" if spec else "is not installed"
    raise MissingDependencyError(
        f"the viewer draws with three.js, which comes with trimesh; that {what}", todo=_TODO
    )


def read_script(archive: Path) -> str:
    """The script that is three.js in trimesh's template of a page; empty where there is none."""
    try:
        with zipfile.ZipFile(archive) as opened:
            if opened.getinfo(NAME).file_size > MAX_BYTES:
                return ""
            page = opened.read(NAME).decode("utf-8")
    except (OSError, KeyError, ValueError, zipfile.BadZipFile):
        return ""
    found = _SCRIPT.search(page)
    return found[0].strip() if found else ""
