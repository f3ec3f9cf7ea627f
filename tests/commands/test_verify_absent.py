"""`verify --absent`: what is left of somebody is found wherever it lies, and nothing is found where nothing is."""

from __future__ import annotations

import json
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import h5py
import numpy as np
import pytest
from click.testing import CliRunner
from shared_helpers import mimicme_here

from mimicme.cli import main
from mimicme.commands.verify import verify
from mimicme.commands.verify.absent import known_here
from mimicme.commands.verify.apart import verify_apart
from mimicme.commands.withdraw import withdraw_release
from mimicme.pipeline.items import Item
from mimicme.pipeline.privacy.names_in import is_in
from mimicme.pipeline.release import digest, guard, layout
from mimicme.pipeline.workspace import Workspace


@pytest.fixture(scope="module")
def made(fakes: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("absent")
    people = ("S001", "S002", "S0010")
    given = [fakes.checkpoints(folder / "made", fakes.sequence(Item(p, "smile"))) for p in people]
    fakes.packed(folder / "one" / "release.h5", given)
    fakes.packed(folder / "many" / "release.h5", given, shard="subject")
    return folder


@pytest.fixture(params=["one", "many"])
def path(made: Path, tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    for file in (made / request.param).iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    return tmp_path / "release.h5"


def traces(path: Path, subject: str) -> list[str]:
    return [f"{f.where}: {f.message}" for f in verify(path, absent=subject) if f.level == "error"]


def test_who_withdrew_is_absent(path: Path) -> None:
    before = traces(path, "S001")
    assert any("/subjects/S001" in found for found in before)
    assert any("It has the text 'S001'" in found for found in before)
    withdraw_release(path, "S001")
    assert traces(path, "S001") == []  # though S0010 is there
    assert traces(path, "S0010") != []
    assert [f for f in verify_apart(path, absent="S001") if f.level == "error"] == []


def attribute(file: h5py.File) -> None:
    guard.put(file.attrs, "config", json.dumps({"only": "S001/*"}))


def attribute_name(file: h5py.File) -> None:
    guard.put(file["template"].attrs, "of_s001", "x")


def text(file: h5py.File) -> None:
    layout.write_table(file, "left", layout.texts(["somebody", "as in S001neutral.obj"]), 4)


def column(file: h5py.File) -> None:
    layout.write_table(file, "left", np.zeros(2, [("S001", "f4")]), 4)


@pytest.mark.parametrize("leave", [attribute, attribute_name, text, column])
def test_what_is_left_in_a_text_is_found(path: Path, leave: Callable[[h5py.File], None]) -> None:
    withdraw_release(path, "S001")
    with h5py.File(path, "r+") as file:
        leave(file)
        digest.seal_root(file["/"])
    digest.beside(path).unlink()
    assert len(traces(path, "S001")) >= 1


def test_a_group_that_is_only_unlinked_is_found(made: Path, tmp_path: Path) -> None:
    path = tmp_path / "release.h5"
    path.write_bytes((made / "one" / "release.h5").read_bytes())
    with h5py.File(path, "r+") as file:
        del file["subjects/S001"]
    found = traces(path, "S001")
    assert sum("A packed chunk that no dataset names" in one for one in found) >= 3


def test_bytes_behind_the_end_are_found(path: Path) -> None:
    withdraw_release(path, "S001")
    path.write_bytes(path.read_bytes() + b"of S001, once")
    assert any("between what is named" in one for one in traces(path, "S001"))


def test_a_shard_that_no_index_names_is_found(path: Path) -> None:
    withdraw_release(path, "S001")
    (path.parent / "release@0@0123456789abcdef.h5").write_bytes(b"half a shard")
    (path.parent / "S001.obj").write_bytes(b"v 0 0 0")
    found = traces(path, "S001")
    assert len(found) == 2 and "No index names" in found[1] and found[0].startswith("S001.obj")


def test_the_command_line_says_it(path: Path) -> None:
    for spelled in ("S002", "\uff33002"):  # as their folder may be called, not as `init` spells it
        assert "/subjects/S002" in mimicme_here("verify", path, "--absent", spelled, code=1).stdout
    said = mimicme_here("verify", path, "--absent", "S003").stdout
    assert "verified" in said and "make sure that 'S003' is spelled as it was" in said


def test_another_spelling_of_who_is_there_is_not_absent(path: Path) -> None:
    done = CliRunner().invoke(main, ["verify", str(path), "--absent", "s1"])
    assert done.exit_code == 1 and "--absent S001" in done.output
    assert "not all that was asked can be said" in done.output


def test_of_a_release_that_cannot_be_read_nothing_is_promised(path: Path) -> None:
    path.write_bytes(b"no release")
    done = CliRunner().invoke(main, ["verify", str(path), "--absent", "S009"])
    assert done.exit_code == 1 and "Nothing of" not in done.output


def test_beside_its_workspace_it_is_said_whether_a_name_is_known(path: Path) -> None:
    captures = path.parent / "captures"
    for subject in ("S007", "S008"):
        (captures / subject / "smile").mkdir(parents=True)
        (captures / subject / "smile" / "0000.obj").write_text("v 0 0 0\n")
    declared = f'[captures]\nroot = "{captures}"\n'
    (path.parent / "mimicme.toml").write_text(declared)
    workspace = Workspace.open(path.parent)
    workspace.remove_subject("S008", ())
    assert "have withdrawn" in known_here(path, "S008")
    assert "`mimicme withdraw` was not run for them" in known_here(path, "S007")
    assert "have captures: another run" in known_here(path, "S007")
    assert "of 'S007'" in known_here(path, "s7")
    assert "'S0O7' is not known here" in known_here(path, "S0O7")
    assert "S0" not in (path.parent / "withdrawn.txt").read_text()
    # the table refuses them: the run that took them out leaves no other trace of that
    (path.parent / "people.csv").write_text("subject,consent\nS007,withdrawn\nS001,yes\nS002,yes\n")
    (path.parent / "mimicme.toml").write_text(f'{declared}[metadata]\nfile = "people.csv"\n')
    for spelled in ("S007", "s7"):
        said = known_here(path, spelled)
        assert "table of subjects keeps them out" in said and "another run" not in said
    # where nobody can ask the table, nothing is promised
    (path.parent / "people.csv").unlink()
    assert "make sure that 'S007' is spelled" in known_here(path, "S007")


@pytest.mark.parametrize(
    ("subject", "said", "there"),
    [
        ("S001", "S001", True), ("S001", "s001_neutral", True), ("S001", "faceS001", True), ("S001", "S0010", False),
        ("1", "21", False), ("1", "scan-1.obj", True), ("ann", "channel", False), ("ann", "Ann 3", True),
        ("12", "00aa12bb99ccdd12ff", False), ("a.b", "axb", False), ("P0123456789abcdef", "P0123456789abcdef", True),
    ],
)  # fmt: skip
def test_where_an_id_stands(subject: str, said: str, there: bool) -> None:
    assert is_in(subject, said) is there


def test_links_that_lead_everywhere_end(path: Path) -> None:
    with h5py.File(path, "r+") as file:
        for place in (file, file["template"]):
            for number in range(300):
                place[f"again{number}"] = file["template"]
    found = verify(path, absent="S009")
    assert any("another name" in f.message or "several names" in f.message for f in found)


def test_what_only_begins_like_a_chunk_is_looked_at_once(path: Path) -> None:
    began = time.process_time()
    with open(path, "ab") as file:
        file.write(b"\x78\x9c\xff" * 200_000)  # heads of nothing
        file.write(b"x" * (1 << 20))
        at = file.tell()
        file.write(zlib.compress(np.random.default_rng(0).bytes(4096)))
    digest.write_beside(path)
    found = [f for f in verify(path, absent="S009") if "no dataset names" in f.message]
    assert [f.where for f in found] == [f"byte {at:,}"]
    assert time.process_time() - began < 20  # each with all that follows it took minutes


def test_a_digest_beside_that_is_endless_is_not_read_whole(path: Path) -> None:
    with open(digest.beside(path), "wb") as file:
        file.truncate(1 << 40)
    assert any("has no SHA-256" in f.message for f in verify(path, absent="S009"))
