"""publish: a release as a folder that can be given away.

Writes DIR/release.h5 (and shards) under pseudonyms, split by subject, with nothing but what is meant to be said, and
beside it README, agreement, citation, datasheet, table of subjects, Croissant and checksums.  The key that leads from
ids to pseudonyms, and the ledger, lie outside.  Who has no plain yes to being in it, or not to the use that it is for,
stays out.

Interrupted, it goes on: files are there whole or not at all, and the checksums are written last.  Equal input gives
equal bytes; a subject keeps pseudonym and split in later versions, and where only others changed, its shard.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from mimicme.commands.publish import splits, versions
from mimicme.commands.publish.copying import Subject, contents_of, publish_release
from mimicme.commands.publish.facts import Facts
from mimicme.commands.publish.pages import DEMOGRAPHY, config_of, write_pages
from mimicme.commands.publish.texts import Title
from mimicme.pipeline.captures.consent import ConsentRules
from mimicme.pipeline.captures.expressions import LABELS
from mimicme.pipeline.captures.layouts import safe_name
from mimicme.pipeline.captures.metadata import UNKNOWN
from mimicme.pipeline.errors import OutputError, UsageError, counted, listed, out_of
from mimicme.pipeline.privacy.names_in import names_in
from mimicme.pipeline.privacy.pseudonyms import (
    Known,
    key_mark,
    ledger_of,
    made_key,
    pseudonyms,
    read_ledger,
    sequence_names,
    write_ledger,
)
from mimicme.pipeline.release import Release, digest, layout, permitted, publication, shards
from mimicme.pipeline.release.publication import PAGES, RELEASE, SUMS, Entry, Publication
from mimicme.pipeline.release.shards import Shard
from mimicme.pipeline.release.writer import root_attributes
from mimicme.pipeline.workspace.beside import kept_out_by_now
from mimicme.stages.pack.sharding import shards_of

_OURS = re.compile(
    rf"\.?({'|'.join(map(re.escape, (*PAGES, SUMS, RELEASE, RELEASE + digest.ENDING)))})(\.\d+\.tmp)?"
)
_SHARDS = re.compile(r"\.?release@[A-Za-z0-9_.+-]+@[0-9a-f]{16}\.h5(\.\d+\.tmp)?")


@dataclass(frozen=True)
class PublishSettings:
    """How a release is published.

    Attributes:
        key: file of the key; made where it is not there.  None: beside the folder.
        shares: of train, val and test.  seed: of the splits.
        use: only subjects who plainly permit it; empty: everybody with a plain yes to the consent.
        columns: of the table of subjects that are given away besides `DEMOGRAPHY` and what is permitted.
        consent_yes: further words that are a yes.
        agreement: file with the terms; None: a draft.
        shard: as `pack.shard`; None: as the release is.
    """

    key: Path | None = None
    shares: str = "80,10,10"
    seed: int = 0
    use: str = ""
    columns: tuple[str, ...] = ()
    consent_yes: tuple[str, ...] = ()
    agreement: Path | None = None
    shard: Literal["none", "subject"] | float | None = None


@dataclass(frozen=True)
class Published:
    """What was published.

    Attributes:
        release: the file.  version: as which.  subjects: that it holds.  frames: that are registered.
        rejected: frames that it holds with the reason alone.
        left_out: why, by subject.
        key, ledger: files that stay at home.
        messages: what a person should know.
    """

    release: Path
    version: str
    subjects: int
    frames: int
    rejected: int
    left_out: Mapping[str, str]
    key: Path
    ledger: Path
    messages: tuple[str, ...]


def publish(
    release: str | Path,
    directory: str | Path,
    title: Title,
    settings: PublishSettings | None = None,
    alive: Callable[[], None] = lambda: None,
) -> Published:
    """Publish a release.

    Args:
        title: its `date` and `licence` are those of the release where they are empty; its `version` follows from the
            one before (`versions`).
        alive: called after each subject.

    Raises:
        UsageError: the folder holds something else, nobody may be published, an id stands in a text that would be, or
            a version must be given.
        ReleaseError, CheckpointError: the release is damaged.
    """
    chosen, folder = settings or PublishSettings(), Path(directory)
    _check_folder(folder)
    shares = splits.shares_of(chosen.shares)
    key_path = chosen.key or folder.parent / f"{folder.name}.key"
    terms = chosen.agreement.read_text(encoding="utf-8") if chosen.agreement else None
    with Release(release) as source:
        if not layout.has_digests(source.attributes.get("schema_version")):
            raise UsageError(
                "this release is too old to be published", where=source.path, todo="Pack it again."
            )
        key = made_key(key_path, folder)
        ledger = ledger_of(key_path)
        known = read_ledger(ledger)
        withdrawn = _withdrawn(source, key)
        left_out = _left_out(source, chosen) | _refused_since(source) | withdrawn
        stay = _staying(source, left_out)
        subjects = _subjects(source, stay, key, known, shares, chosen)
        declared = permitted.declares(source.subjects.values())
        full = _full(title, source)
        _check_texts(source, subjects, full, chosen)
        labels = _labels(source, subjects, chosen)
        about = _about(full, chosen, len(left_out), _dropped(source, stay, chosen), key_mark(key))
        contents = contents_of(source, subjects, key)
        about = replace(about, content=_content(source, about, contents, labels, full.licence, terms, key))
        target = folder / RELEASE
        about, remarks = versions.settled(source.path, target, about, title.version, contents, bool(known))
        remarks = [*versions.other_keys(source.path, about.key, key_path), *remarks]
        _make_room(folder)
        said = _attributes(source, full.licence, about, key)
        publish_release(source, target, subjects, said, labels, key, alive)
    write_ledger(
        ledger,
        [(s.own, s.name, str(s.attributes["split"]), own, new) for s in subjects for own, new in s.sequences],
    )
    facts = write_pages(target, terms)
    where, with_key = (os.path.realpath(one) for one in (folder, key_path))
    gone = pseudonyms(key, withdrawn)
    entry = Entry(
        where,
        with_key,
        about.key,
        about.version,
        about.content,
        about.changes,
        contents,
        tuple(sorted(gone.values())),
    )
    messages = (*remarks, *_noted(source.path, entry), *_messages(facts, known, subjects, declared))
    rejected = facts.frames - facts.ok
    return Published(
        target, about.version, len(subjects), facts.ok, rejected, left_out, key_path, ledger, messages
    )


def _staying(source: Release, left_out: Mapping[str, str]) -> list[str]:
    """Who is published: everybody but those who are left out, by the reason why.

    Raises:
        UsageError: that is nobody.
    """
    stay = [subject for subject in source.subjects if subject not in left_out]
    if not stay:
        raise UsageError(
            "nobody may be published",
            where=source.path,
            seen=next(iter(left_out.values()), "no subject").rstrip("."),
            todo="What each subject permits stands in the table of subjects (`file` in [metadata] of the "
            "workspace's mimicme.toml): `mimicme pack` takes it over.",
        )
    return stay


def _about(title: Title, chosen: PublishSettings, left_out: int, dropped: str, mark: str) -> Publication:
    """What a publication says of itself, but for its version and its content."""
    return Publication(
        title.title,
        "",
        title.authors,
        title.date,
        title.description,
        title.doi,
        title.url,
        chosen.shares,
        chosen.seed,
        chosen.use,
        left_out,
        dropped,
        mark,
    )


def _make_room(folder: Path) -> None:
    """A folder without what is left of a publication that was killed, and without sums until all of it is there."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / SUMS).unlink(missing_ok=True)
    for half in folder.glob(".*.tmp"):
        half.unlink()


def _noted(release: Path, entry: Entry) -> list[str]:
    """Note a publication beside its release; what is to be said where that cannot be."""
    try:
        publication.note(release, entry)
    except (OSError, OutputError) as error:
        return [f"That it was published could not be noted beside the release: {error}"]
    return []


def _check_folder(folder: Path) -> None:
    """A folder is new, or holds nothing but an earlier publication.

    Raises:
        UsageError: it holds something else.
    """
    if folder.exists() and not folder.is_dir():
        raise UsageError("a release is published into a folder", where=folder, seen="a file")
    others = sorted(
        p.name
        for p in (folder.iterdir() if folder.is_dir() else ())
        if p.is_dir() or not (_OURS.fullmatch(p.name) or _SHARDS.fullmatch(p.name))
    )
    if others:
        raise UsageError(
            "the folder holds other things too, which would be given away",
            where=folder,
            seen=listed(others, 5),
            todo="Name a new folder, or one with nothing but an earlier publication.",
        )


def _left_out(source: Release, chosen: PublishSettings) -> dict[str, str]:
    """Who is not published, and why: whatever is no plain yes is a no."""
    rules = ConsentRules(yes=chosen.consent_yes)
    found = {}
    unclear = permitted.with_unclear_codes(source.subjects.values())
    for subject, said in source.subjects.items():
        consent = str(said.get("consent", UNKNOWN))
        if not rules.is_yes(consent):
            found[subject] = f"'{subject}' is left out: its consent is '{consent}', which is no plain yes."
        elif chosen.use and not permitted.permits(said, chosen.use, unclear):
            found[subject] = f"'{subject}' is left out: it does not plainly permit '{chosen.use}'."
    return found


def _withdrawn(source: Release, key: bytes) -> dict[str, str]:
    """Who has withdrawn from a folder that was published with this key, and is still in the release."""
    gone = {
        name: entry
        for entry in publication.read_history(source.path)
        if entry.mark == key_mark(key)
        for name in entry.withdrawn
    }
    names = pseudonyms(key, source.subjects) if gone else {}
    return {
        subject: f"'{subject}' is left out: they have withdrawn, as '{name}', from '{gone[name].folder}' (version "
        f"{gone[name].version}). Withdraw them from this release too."
        for subject, name in names.items()
        if name in gone
    }


def _refused_since(source: Release) -> dict[str, str]:
    """Who is in a workspace's own release, and is kept out by its table of subjects, or has withdrawn, by now.

    Raises:
        MimicmeError: the workspace or its table cannot be read: nobody can say then.
    """
    return {
        subject: f"'{subject}' is left out: by now the workspace's table of subjects keeps it out. Pack again."
        for subject in sorted(kept_out_by_now(source.path, source.subjects))
    }


def _subjects(
    source: Release,
    stay: Sequence[str],
    key: bytes,
    known: Mapping[str, Known],
    shares: Mapping[str, float],
    chosen: PublishSettings,
) -> list[Subject]:
    names = pseudonyms(key, stay)
    by_name = {names[subject]: source.subjects[subject] for subject in stay}
    given = {said.get("split") for said in by_name.values()}
    if given <= set(splits.NAMES):  # the lab has made them
        split = {name: str(said["split"]) for name, said in by_name.items()}
    else:
        before = {names[s]: known[s].split for s in stay if s in known and known[s].split in splits.NAMES}
        split = splits.assign(by_name, shares, chosen.seed, before)
    sequences: dict[str, dict[str, str]] = {subject: {} for subject in stay}
    for info in source.sequences():
        if info.item.subject in sequences:
            label = info.expression if info.expression in LABELS else UNKNOWN
            sequences[info.item.subject][info.item.sequence] = label
    unclear = permitted.with_unclear_codes(source.subjects.values())
    return [
        Subject(
            subject,
            names[subject],
            _said(source.subjects[subject], split[names[subject]], chosen, unclear),
            tuple(sorted(sequence_names(sequences[subject]).items())),
            sequences[subject],
        )
        for subject in stay
    ]


def _said(
    own: Mapping[str, Any], split: str, chosen: PublishSettings, unclear: Collection[str]
) -> dict[str, Any]:
    """The attributes of a subject that are given away.  What it permits stands there whatever the lab's own table says:
    a release without these columns would leave it open to who gets it."""
    kept = {name: own.get(name, UNKNOWN) for name in (*DEMOGRAPHY, *chosen.columns)}
    uses = permitted.said(own, unclear)
    turned = {permitted.YES: permitted.NO, permitted.NO: permitted.YES, UNKNOWN: UNKNOWN}
    columns = {c: turned[uses[u]] if u == "commercial" else uses[u] for u, c in permitted.COLUMNS.items()}
    return {**kept, "consent": "yes", "split": split, **columns}


def _full(title: Title, source: Release) -> Title:
    said = source.attributes
    return Title(
        title.title,
        title.authors,
        title.version,
        title.date or str(said.get("created", ""))[:10],
        title.licence or str(said.get("licence", "")),
        title.description,
        title.doi,
        title.url,
    )


def _attributes(source: Release, licence: str, about: Publication, key: bytes) -> dict[str, str]:
    """The root attributes of what is given away."""
    config = _without_paths(config_of(source))
    if isinstance(review := config.get("review"), dict):
        review.pop("digest", None)  # of names, which could be found by trying
    converted = config.get("converted")
    for one in converted if isinstance(converted, list) else ():
        if isinstance(one, dict):
            one.pop("from", None)  # what the release at home and its template are called
    text = about.to_json()
    said = root_attributes(
        created=str(source.attributes.get("created", "")),
        licence=licence,
        config=json.dumps(config, sort_keys=True),
        fingerprint=_keyed(key, f"published\n{source.fingerprint}\n{text}"),
    )
    return {**said, publication.ATTRIBUTE: text}


def _content(
    source: Release,
    about: Publication,
    contents: Mapping[str, str],
    labels: Mapping[str, Sequence[str]] | None,
    licence: str,
    terms: str | None,
    key: bytes,
) -> str:
    """A keyed hash of all that is published: equal ones are one version."""
    record = [source.fingerprint, about.to_json(), contents, labels, licence, terms]
    return _keyed(key, json.dumps(record, sort_keys=True))


def _keyed(key: bytes, text: str) -> str:
    return hmac.new(key, text.encode("utf-8", "surrogateescape"), hashlib.sha256).hexdigest()


def _without_paths(value: Any) -> Any:
    """Settings without the names of files, which are a lab's own."""
    if isinstance(value, dict):
        return {name: _without_paths(one) for name, one in value.items()}
    if isinstance(value, list):
        return [_without_paths(one) for one in value]
    return "" if isinstance(value, str) and ("/" in value or "\\" in value) else value


def _dropped(source: Release, stay: Iterable[str], chosen: PublishSettings) -> str:
    """Names of the columns that stay at home."""
    kept = {*layout.SUBJECT_ATTRIBUTES, *chosen.columns}
    names = {name for subject in stay for name in source.subjects[subject]} - kept
    plain = {re.sub(r"[^a-z0-9]+", "_", name.casefold()): name for name in names}
    return ", ".join(sorted(n for p, n in plain.items() if p not in permitted.COLUMNS.values()))


def _labels(
    source: Release, subjects: Sequence[Subject], chosen: PublishSettings
) -> dict[str, list[str]] | None:
    """Pseudonyms by label of their shard; None: one file."""
    held = shards.of_file(source.path) or ()
    shard = chosen.shard if chosen.shard is not None else _shard_of(source, held)
    if shard == "none":
        return None
    total = source.path.stat().st_size + sum(one.bytes for one in held)
    frames = max(1, len(source))
    own = {s.own: s.name for s in subjects}
    sizes = dict.fromkeys(own.values(), 0)
    for subject in source.index["subject"].tolist():
        if subject in own:
            sizes[own[subject]] += total // frames
    return shards_of(sizes, shard)


def _shard_of(source: Release, held: Sequence[Shard]) -> Literal["none", "subject"] | float:
    """How a release is cut into shards: one a subject, or by a size, that of `pack.shard` or else of the largest."""
    if not held:
        return "none"
    if all(len(one.subjects) == 1 and _is_label(one, one.subjects[0]) for one in held):
        return "subject"
    said = config_of(source)
    for name in ("stages", "pack", "settings", "shard"):
        said = said.get(name, {}) if isinstance(said, dict) else {}
    if isinstance(said, float | int) and not isinstance(said, bool) and 0 < said < 1e6:
        return float(said)
    return max(one.bytes for one in held) / 1e9


def _is_label(shard: Shard, subject: str) -> bool:
    return shard.name.count("@") == 2 and shard.name.split("@")[1] == safe_name(subject)


def _check_texts(source: Release, subjects: Iterable[Subject], title: Title, chosen: PublishSettings) -> None:
    """No id stands in a text that is given away.

    Raises:
        UsageError: one does.
    """
    given: dict[str, str] = {
        "the licence": title.licence,
        "the title": " ".join(
            (title.title, title.description, *title.authors, title.version, title.doi, title.url)
        ),
        "the settings in the release": json.dumps(_without_paths(config_of(source))),
    }
    for subject in subjects:
        for name in (*DEMOGRAPHY, *chosen.columns):
            what = f"the column '{name}'"
            given[what] = f"{given.get(what, '')} {subject.attributes[name]}"
    if chosen.agreement is not None:
        given["the agreement"] = chosen.agreement.read_text(encoding="utf-8", errors="replace")
    # a short number stands in any text; what is given away beside these texts is chosen word by word
    ids = [s for s in source.subjects if len(s) > 3 or not s.isdigit()]
    for what, text in given.items():
        held = next((one for one in ids if len(one) > 1 and names_in(one).search(text)), None)
        if held is not None:
            raise UsageError(
                f"{what} would give an id away",
                where=source.path,
                seen=f"'{held}'",
                todo="Take it out there, or leave the column out.",
            )


def _messages(
    facts: Facts, known: Mapping[str, Known], subjects: Sequence[Subject], declared: bool
) -> tuple[str, ...]:
    said = []
    if not declared:
        columns = ", ".join(permitted.COLUMNS.values())
        said.append(
            f"The table of subjects says nothing of what each permits ({columns}): nobody permits any of it."
        )
    if facts.alone:
        said.append(
            f"{out_of(facts.alone, len(facts.people), 'subject', verbs=('is', 'are'))} alone in their age band, gender "
            "and ethnicity, and the easier to recognise."
        )
    old = sum(subject.own in known for subject in subjects)
    if old:
        said.append(
            f"{counted(old, 'subject keeps', 'subjects keep')} the split of an earlier version; "
            f"{counted(len(subjects) - old, 'is', 'are')} new."
        )
    return tuple(said)
