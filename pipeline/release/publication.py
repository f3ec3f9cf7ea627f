"""What a published release says of itself, and what a lab's own release knows of where it was published.

A published release has the root attribute `publication`, JSON text: what its pages say and the frames do not, so that
they can be written again when somebody withdraws from that copy.  Beside the release that was published, which stays at
home, `release.h5.publications.json` says into which folders, as which version and with which key.  A published folder
does not know where its home is; so who has withdrawn from a folder alone is learnt at home when the list is next read.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal

from mimicme.pipeline.errors import ReleaseError
from mimicme.pipeline.release import guard
from mimicme.pipeline.whole_file import write_whole

RELEASE = "release.h5"
"""The name of a published release in its folder."""
ATTRIBUTE = "publication"
SUMS = "SHA256SUMS"
"""The checksums of a published folder, written last."""
PAGES = (
    "README.md",
    "AGREEMENT.txt",
    "CITATION.cff",
    "CITATION.bib",
    "datasheet.md",
    "subjects.csv",
    "croissant.json",
)
"""What lies beside a published release."""
FIRST = "1.0"
ENDING = ".publications.json"
WITHDRAWN = "1 subject has withdrawn."
_PLACES = ("key", "content", "withdrawal")
_VERSION = re.compile(r"\d{1,6}(\.\d{1,6}){0,2}")


@dataclass(frozen=True)
class Publication:
    """What a published release says of itself.

    Attributes:
        shares, seed, use: how it was published.
        left_out: subjects who were, for want of consent or use.  dropped: columns that stayed at home.
        key: what tells whether a key is the one that it was published with; empty: not known.
        content: keyed hash of all that it was made of; empty where somebody has withdrawn from it since.
        changes: version and what changed with it, a pair a version, the last one last.
    """

    title: str = ""
    version: str = ""
    authors: tuple[str, ...] = ()
    date: str = ""
    description: str = ""
    doi: str = ""
    url: str = ""
    shares: str = ""
    seed: int = 0
    use: str = ""
    left_out: int = 0
    dropped: str = ""
    key: str = ""
    content: str = ""
    changes: tuple[tuple[str, str], ...] = ()

    def to_json(self) -> str:
        return json.dumps(asdict(self), sort_keys=True)


def of_attributes(attributes: Mapping[str, Any]) -> Publication | None:
    """What the root attributes of a release say; None where it was not published.

    Of what an earlier version did not say, or a stranger says otherwise, nothing is known.
    """
    if ATTRIBUTE not in attributes:
        return None
    try:
        said = json.loads(str(attributes[ATTRIBUTE]))
    except (ValueError, RecursionError):
        said = None
    return _of_record(said) if isinstance(said, dict) else Publication()


def of_file(path: Path) -> Publication | None:
    """What a release says of itself; None where it was not published.

    Raises:
        ReleaseError: it cannot be read.
    """
    with guard.opened(path) as file:
        said = guard.attribute(guard.rooted(file), ATTRIBUTE, "/")
    return None if said is None else of_attributes({ATTRIBUTE: said})


def _of_record(said: Mapping[str, Any]) -> Publication:
    found: dict[str, Any] = {}
    for one in fields(Publication):
        value, kind = said.get(one.name), type(one.default)
        if kind is tuple and isinstance(value, list):
            value = tuple(tuple(v) if isinstance(v, list) else v for v in value)
            pairs = one.name == "changes"
            if all(_is_pair(v) if pairs else isinstance(v, str) for v in value):
                found[one.name] = value
        elif isinstance(value, kind) and kind is not tuple:
            found[one.name] = value
    return Publication(**found)


def _is_pair(value: Any) -> bool:
    return isinstance(value, tuple) and len(value) == 2 and all(isinstance(one, str) for one in value)


def raised(version: str, by: Literal["key", "content", "withdrawal"]) -> str | None:
    """The next version: people with other pseudonyms raise its first number, another content its second, a withdrawal
    from a copy its third.  None where the version is none of numbers."""
    if not _VERSION.fullmatch(version):
        return None
    numbers = [*map(int, version.split(".")), 0, 0][:3]
    place = _PLACES.index(by)
    numbers = [*numbers[:place], numbers[place] + 1, 0, 0][:3]
    return ".".join(map(str, numbers if numbers[2] else numbers[:2]))


def without_one(said: Publication) -> Publication:
    """What a copy says of itself when somebody has withdrawn from it."""
    version = raised(said.version, "withdrawal") or said.version
    return replace(said, version=version, content="", changes=(*said.changes, (version, WITHDRAWN)))


# -- where a release was published


@dataclass(frozen=True)
class Entry:
    """One publication of a release.

    Attributes:
        folder, key: absolute paths.
        mark: as `Publication.key`.  version, content, changes: as there.
        subjects: a hash of what was published of each, by pseudonym.
        withdrawn: pseudonyms of those who have withdrawn from the folder alone.
    """

    folder: str
    key: str
    mark: str
    version: str
    content: str
    changes: tuple[tuple[str, str], ...] = ()
    subjects: Mapping[str, str] = field(default_factory=dict)
    withdrawn: tuple[str, ...] = ()


def history_of(release: Path) -> Path:
    """The file that says where a release was published."""
    return release.with_name(release.name + ENDING)


def read_history(release: Path) -> list[Entry]:
    """Where a release was published, the last publication last; a file that cannot be read knows nothing.

    Who has withdrawn from a folder since is taken out of what was known of it, as far as the folder is still there.
    """
    return [_as_it_is(one) for one in _noted(release)]


def _as_it_is(entry: Entry) -> Entry:
    """A publication, without those who have withdrawn from its folder since it was noted."""
    path = Path(entry.folder) / RELEASE
    try:
        about = of_file(path)
        if about is None or about.key != entry.mark or about.version == entry.version:
            return entry
        with guard.opened(path) as file:
            people = set(guard.names(guard.subgroup(guard.rooted(file), "subjects", "/"), "/subjects"))
    except (ReleaseError, OSError):
        return entry
    since = about.changes[len(entry.changes) :]
    follows = about.changes[: len(entry.changes)] == entry.changes and not about.content
    if not follows or any(text != WITHDRAWN for _, text in since):
        return entry  # of another home, published into the same folder
    kept = {name: content for name, content in entry.subjects.items() if name in people}
    gone = tuple(sorted({*entry.withdrawn, *entry.subjects} - people))
    return replace(
        entry, version=about.version, content="", changes=about.changes, subjects=kept, withdrawn=gone
    )


def _noted(release: Path) -> list[Entry]:
    try:
        rows = json.loads(history_of(release).read_text(encoding="utf-8"))
        return [
            Entry(
                folder=str(row["folder"]),
                key=str(row["key"]),
                mark=str(row["mark"]),
                version=str(row["version"]),
                content=str(row["content"]),
                changes=tuple((str(version), str(text)) for version, text in row["changes"]),
                subjects={str(name): str(content) for name, content in row["subjects"].items()},
                withdrawn=tuple(str(name) for name in row.get("withdrawn", ())),
            )
            for row in rows
        ]
    except (OSError, ValueError, TypeError, LookupError, AttributeError, RecursionError):
        return []


def note(release: Path, entry: Entry) -> None:
    """Remember a publication, in place of an earlier one into the same folder.

    Raises:
        OSError, OutputError: it cannot be written.
    """
    _write(release, [*(one for one in read_history(release) if one.folder != entry.folder), entry])


def note_withdrawal(release: Path, name: str, folder: Path | None = None) -> None:
    """Forget a subject who is no longer in a release, and is out of the copy in a folder too.

    Args:
        name: the pseudonym.  folder: None: no copy had them any more.
    """
    known = read_history(release)
    found = [_without(one, name, folder is not None and one.folder == str(folder)) for one in known]
    if found != known:
        _write(release, found)


def _without(entry: Entry, name: str, is_out: bool) -> Entry:
    entry = replace(entry, withdrawn=tuple(one for one in entry.withdrawn if one != name))
    if not is_out or name not in entry.subjects:
        return entry
    said = without_one(Publication(version=entry.version, changes=entry.changes))
    people = {one: content for one, content in entry.subjects.items() if one != name}
    return replace(entry, version=said.version, content="", changes=said.changes, subjects=people)


def _write(release: Path, entries: Sequence[Entry]) -> None:
    rows = [asdict(one) for one in entries]
    write_whole(history_of(release), json.dumps(rows, indent=1, sort_keys=True) + "\n")
