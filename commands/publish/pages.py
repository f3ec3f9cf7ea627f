"""The files beside a published release, made of what it says: written when it is published, and again when somebody
withdraws from that copy."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from mimicme.commands.publish import splits, texts
from mimicme.commands.publish.croissant import croissant
from mimicme.commands.publish.facts import Facts, facts_of
from mimicme.commands.publish.texts import Title
from mimicme.pipeline.captures.metadata import UNKNOWN
from mimicme.pipeline.errors import UsageError
from mimicme.pipeline.release import Release, digest, publication, shards
from mimicme.pipeline.release.publication import SUMS, Publication
from mimicme.pipeline.whole_file import write_whole

DEMOGRAPHY = ("age", "gender", "ethnicity")
_COLUMNS = {
    "subject": "pseudonym",
    "age": "years",
    "gender": "as the subject says, or as the lab wrote it",
    "ethnicity": "as the subject says, or as the lab wrote it",
    "consent": "yes: nobody is here without",
    "split": "train, val or test",
    "may_appear_in_papers": "pictures of them may be shown",
    "may_train": "models may be learnt from them",
    "may_share_raw": "raw captures of them may be given away",
    "research_only": "no commercial use",
    "frames_ok": "registered frames",
}


def write_pages(release: Path, terms: str | None) -> Facts:
    """Write all files beside a published release; the checksums last.

    Args:
        terms: text of the agreement; None: a draft.

    Returns:
        What was counted for them.

    Raises:
        UsageError: the release was not published.
        ReleaseError: it is damaged.
    """
    folder = release.parent
    with Release(release) as given:
        said = publication.of_attributes(given.attributes)
        if said is None:
            raise UsageError("this release was not published", where=release)
        title = title_of(said, str(given.attributes.get("licence", "")))
        how = {
            "shares": splits.shares_of(said.shares or "80,10,10"),
            "splits": f"seed {said.seed}",
            "left_out": said.left_out,
            "stages": stages_of(given),
            "dropped": said.dropped,
            "changes": said.changes,
        }
        facts = facts_of(given, bool(shards.of_file(release)))
    (folder / SUMS).unlink(missing_ok=True)  # until all of it is there again
    bib = texts.bibtex(title)
    pages = {
        "README.md": texts.readme(title, facts),
        "AGREEMENT.txt": texts.agreement(title) if terms is None else terms,
        "CITATION.cff": texts.citation_cff(title),
        "CITATION.bib": bib,
        "datasheet.md": texts.datasheet(title, facts, how),
        "subjects.csv": texts.subjects_csv(facts),
    }
    for name, text in pages.items():
        write_whole(folder / name, text)
    beside = digest.beside(release)
    sums = {
        line.partition("  ")[2]: line.partition("  ")[0]
        for line in beside.read_text(encoding="utf-8").splitlines()
    }
    sums |= {name: digest.of_file(folder / name) for name in (*pages, beside.name)}
    files = {name: ((folder / name).stat().st_size, total) for name, total in sums.items()}
    others = dict.fromkeys(n for p in facts.people.values() for n in p if n not in _COLUMNS)
    columns = {**_COLUMNS, **dict.fromkeys(others, "as in the lab's table")}
    write_whole(folder / "croissant.json", croissant(title, files, columns, bib))
    sums["croissant.json"] = digest.of_file(folder / "croissant.json")
    write_whole(folder / SUMS, "".join(f"{total}  {name}\n" for name, total in sorted(sums.items())))
    return facts


def again(release: Path) -> None:
    """Write all files beside a published release again, after a withdrawal from it; raises as `write_pages`."""
    write_pages(release, _terms_beside(release))


def _terms_beside(release: Path) -> str | None:
    """The agreement of a published folder where a lab gave it; None where it is the draft, or there is none."""
    try:
        text = (release.parent / "AGREEMENT.txt").read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return None
    with Release(release) as given:
        said = publication.of_attributes(given.attributes) or Publication()
        licence = str(given.attributes.get("licence", ""))
    heading = re.compile(re.escape(f"AGREEMENT ON THE USE OF: {said.title}, version ") + r"[^\n]*\n")
    rest = texts.agreement(title_of(said, licence)).partition("\n")[2]
    found = heading.match(text)
    return None if found and text[found.end() :] == rest else text


def title_of(said: Publication, licence: str) -> Title:
    """What a published release is called."""
    return Title(
        said.title,
        said.authors or (UNKNOWN,),
        said.version,
        said.date,
        licence,
        said.description,
        said.doi,
        said.url,
    )


def config_of(release: Release) -> dict[str, Any]:
    """The settings in a release; empty where they cannot be read."""
    try:
        found = json.loads(str(release.attributes.get("config", "{}")))
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def stages_of(release: Release) -> str:
    """The stages that made a release, and their versions."""
    stages = config_of(release).get("stages", {})
    known = stages.items() if isinstance(stages, dict) else ()
    return ", ".join(f"{n} {s.get('version')}" for n, s in known if isinstance(s, dict)) or UNKNOWN
