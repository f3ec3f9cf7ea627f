"""A published folder is looked at as a whole; whom it holds under a pseudonym nobody claims to know without the key."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import h5py
import pytest
from shared_helpers import mimicme_here

from mimicme.commands.publish import PublishSettings, pages, publish
from mimicme.commands.publish.texts import Title
from mimicme.commands.verify import Alias, all_said, has_errors, verify
from mimicme.commands.withdraw import withdraw
from mimicme.pipeline.items import Item
from mimicme.pipeline.privacy.pseudonyms import key_mark, key_of, pseudonym, read_ledger
from mimicme.pipeline.release import Release, digest, guard, publication

TITLE = Title("Faces", ("A Lab",), "1.0", "", "none")


@pytest.fixture(scope="module")
def made(fakes: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("published")
    given = [fakes.checkpoints(folder / "made", fakes.sequence(Item(p, "smile"))) for p in ("S001", "S002")]
    for name, shard in (("one", "none"), ("many", "subject")):
        fakes.packed(folder / name / "release.h5", given, shard=shard)
        publish(
            folder / name / "release.h5", folder / f"out-{name}", TITLE, PublishSettings(key=folder / "key")
        )
    return folder


@pytest.fixture(params=["one", "many"])
def folder(made: Path, tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    shutil.copytree(made / f"out-{request.param}", tmp_path / "out")
    return tmp_path / "out"


def asked(folder: Path, name: str, key: Path | None = None) -> list[str]:
    """What is said when somebody is to be absent; a warning is nothing."""
    secret = None if key is None else key_of(key)
    alias = None if secret is None else Alias(pseudonym(secret, name), key_mark(secret))
    found = verify(folder / "release.h5", absent=name, alias=alias)
    return [str(f) for f in found if f.level != "warning"]


def test_a_published_folder_verifies(folder: Path) -> None:
    assert verify(folder / "release.h5") == []


def test_without_the_key_nobody_knows(folder: Path) -> None:
    for name in ("S001", "S003"):  # an id that is not there either
        (said,) = asked(folder, name)
        assert (
            said.startswith("unknown: /: ")
            and "cannot be said without the key" in said
            and "--key FILE" in said
        )


def test_with_the_key_it_is_said(made: Path, folder: Path) -> None:
    name = read_ledger(made / "key.ledger.csv")["S001"].pseudonym
    found = asked(folder, "S001", made / "key")
    assert any(f"/subjects/{name}" in one for one in found)
    assert any(one.startswith("error: subjects.csv: ") for one in found)
    assert asked(folder, "S003", made / "key") == []
    withdraw(folder, name, pages=pages.again)
    assert asked(folder, "S001", made / "key") == [] and asked(folder, name) == []
    (made / "other").write_text("k" * 64)
    (said,) = asked(folder, "S001", made / "other")
    assert said.startswith("unknown: /: ") and "with this key" in said


def test_the_command_line_says_it(made: Path) -> None:
    command = ("verify", made / "out-many" / "release.h5")
    done = mimicme_here(*command, "--absent", "S001", code=1)
    assert "not all that was asked can be said" in done.stdout
    assert "verified" not in done.stdout and "not usable" not in done.stdout
    done = mimicme_here(*command, "--absent", "S001", "--key", made / "key", "--json", code=1)
    assert {f["level"] for f in json.loads(done.stdout)} == {"error"}
    assert "--absent" in mimicme_here(*command, "--key", made / "key", code=2).stderr


def test_of_a_folder_of_before_with_the_key_who_is_there_is_found(made: Path, folder: Path) -> None:
    """Its release does not say which key it was."""
    with h5py.File(folder / "release.h5", "r+") as file:
        about = publication.of_attributes(
            {publication.ATTRIBUTE: guard.text(file.attrs[publication.ATTRIBUTE])}
        )
        assert about is not None
        del file.attrs[publication.ATTRIBUTE]
        guard.put(file.attrs, publication.ATTRIBUTE, replace(about, key="").to_json())
        digest.seal_root(file["/"])
    digest.beside(folder / "release.h5").unlink()
    assert any(one.startswith("error: /subjects/P") for one in asked(folder, "S001", made / "key"))
    (said,) = asked(folder, "S003", made / "key")
    assert said.startswith("unknown: /: ")


def test_pages_that_do_not_fit_are_told(folder: Path) -> None:
    with Release(folder / "release.h5") as release:
        first = min(release.subjects)
    for name, change, said in (
        ("README.md", b"x", "not the one that SHA256SUMS is of"),
        ("subjects.csv", b"P0123456789ab,1\n", "lists 'P0123456789ab', who is not in the release"),
        ("CITATION.bib", None, "missing, though SHA256SUMS names it"),
        ("SHA256SUMS", None, "interrupted"),
        ("SHA256SUMS", b"no checksum\n", "no checksums as sha256sum"),
    ):
        path = folder / name
        before = path.read_bytes()
        if change is None:
            path.unlink()
        else:
            path.write_bytes(before + change)
        found = verify(folder / "release.h5")
        assert any(f.where == name and said in f.message for f in found), name
        assert has_errors(found) is (name == "subjects.csv") and all_said(found)
        path.write_bytes(before)
    table = (folder / "subjects.csv").read_text()
    (folder / "subjects.csv").write_text(
        "".join(line for line in table.splitlines(True) if first not in line)
    )
    assert any(
        f"'{first}' is in the release and not listed" in f.message for f in verify(folder / "release.h5")
    )


def test_a_table_that_is_none_is_told(folder: Path) -> None:
    table = folder / "subjects.csv"
    table.write_text(f"subject\n{'P' * 200_000}\n")
    assert any(f.where == "subjects.csv" and "no table" in f.message for f in verify(folder / "release.h5"))
