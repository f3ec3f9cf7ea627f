"""Which version a publication is, and what changed since the one before.

A version is given, or follows by rule: the first is 1.0; other content raises the second number, other pseudonyms the
first; a withdrawal from a copy raises the third (`publication.raised`).  Equal content keeps its version.  What was
there before says the folder itself, and the release's history of publications with the same key.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from mimicme.pipeline.errors import MimicmeError, UsageError
from mimicme.pipeline.release import Release, publication
from mimicme.pipeline.release.publication import FIRST, Entry, Publication

NEW_NAMES = "Every subject has another pseudonym than before."


def settled(
    source: Path, target: Path, about: Publication, asked: str, contents: Mapping[str, str], has_ledger: bool
) -> tuple[Publication, list[str]]:
    """What is to be published with its version and what changed, and sentences for people.

    Args:
        source: the release that is published.  target: where it is written, and an earlier one may be.
        about: with its `content` and `key`.
        asked: the version that was given; empty: by rule.
        contents: a hash of what is published of each subject, by pseudonym.
        has_ledger: whether something was published with this key before.

    Raises:
        UsageError: no version follows from the one before, so one must be given.
    """
    there = _there(target)
    known = publication.read_history(source)
    before = [e for e in known if e.mark == about.key]
    if there is not None and there.key == about.key:
        mine = Entry("", "", there.key, there.version, there.content, there.changes, _people(target))
        same = next((e for e in before if (e.version, e.content) == (mine.version, mine.content)), None)
        before.append(mine if same is None else same)
    equal = [e for e in before if e.content == about.content]
    kept = next((e for e in reversed(equal) if asked in ("", e.version)), None)
    if kept is not None:
        return replace(about, version=kept.version, changes=kept.changes), []
    said: list[str] = []
    if before:
        last = max(before, key=lambda e: _order(e.version))
        version = asked or publication.raised(last.version, "content")
        text = _changed(last, contents)
        changes = last.changes
        said.append(f"Since version {last.version}: {text}")
        if version in {e.version for e in before}:
            said.append(
                f"Version {version} was published before with other content: who has both cannot tell them apart. "
                "Give another --version, or none."
            )
    elif there is not None:
        version, text, changes = asked or publication.raised(there.version, "key"), NEW_NAMES, there.changes
        said.append(f"Since version {there.version}: {text}")
    elif has_ledger and not asked:
        raise UsageError(
            "something was published with this key before, and nobody knows as which version",
            where=target.parent,
            todo="Give --version.",
        )
    else:
        version, text, changes = asked or FIRST, "", ()
    if version is None:
        raise UsageError(
            "which version comes next does not follow from the last one",
            where=target.parent,
            seen=f"'{(before[-1] if before else there or about).version}'",
            expected="numbers and points, as in 1.0",
            todo="Give --version.",
        )
    found = replace(about, version=version, changes=(*changes, (version, text)) if text else changes)
    return found, said


def other_keys(source: Path, mark: str, key: Path) -> list[str]:
    """A warning where a release is published with another key than before, for the first time."""
    known = publication.read_history(source)
    if not known or any(e.mark == mark for e in known):
        return []
    last = known[-1]
    return [
        f"The key {key} is another than that of '{last.folder}' (version {last.version}), which this release was "
        "published with before: everybody has another pseudonym here. For the same pseudonyms publish again with "
        f"--key {shlex.quote(last.key)}."
    ]


def _there(target: Path) -> Publication | None:
    try:
        with Release(target) as release:
            return publication.of_attributes(release.attributes)
    except (MimicmeError, OSError):
        return None


def _people(target: Path) -> dict[str, str]:
    """The pseudonyms in a release; of what is published of each nothing is known here."""
    try:
        with Release(target) as release:
            return dict.fromkeys(release.subjects, "")
    except (MimicmeError, OSError):
        return {}


def _order(version: str) -> tuple[int, ...]:
    parts = version.split(".")
    return tuple(map(int, parts)) if all(one.isdecimal() for one in parts) else (-1,)


def _changed(last: Entry, contents: Mapping[str, str]) -> str:
    new, gone = contents.keys() - last.subjects.keys(), last.subjects.keys() - contents.keys()
    both = contents.keys() & last.subjects.keys()
    changed = [name for name in both if last.subjects[name] not in ("", contents[name])]
    counts = ((len(new), "new"), (len(gone), "gone"), (len(changed), "changed"))
    said = ", ".join(f"{n} {what}" for n, what in counts if n)
    if not said:
        return "the same subjects; texts, splits, settings or how it is stored are others."
    one = sum(n for n, _ in counts) == 1
    return f"{said} {'subject' if one else 'subjects'}; {len(both) - len(changed)} as before."
