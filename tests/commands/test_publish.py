"""A release that is given away: nobody's id is in it, everybody's wishes are, and its README works as it is written."""

from __future__ import annotations

import csv
import json
import re
import shutil
import stat
import subprocess
import sys
from collections import Counter
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import h5py
import numpy as np
import pytest
from recipes import recipes
from shared_helpers import mimicme_here

from mimicme.commands.publish import PublishSettings, pages, publish
from mimicme.commands.publish.splits import NAMES, age_band, assign, shares_of, stratum
from mimicme.commands.publish.texts import Title, forbids_training
from mimicme.commands.verify import has_errors, verify
from mimicme.commands.withdraw import withdraw
from mimicme.pipeline.captures.consent import ConsentRules
from mimicme.pipeline.captures.metadata import parse_subjects
from mimicme.pipeline.errors import MimicmeError, UsageError, counted
from mimicme.pipeline.items import Item
from mimicme.pipeline.privacy.pseudonyms import pseudonyms, read_ledger, sequence_names
from mimicme.pipeline.release import Release, digest, guard, publication, shards
from mimicme.pipeline.release.frames import ReleaseFrames
from mimicme.pipeline.release.layout import OK
from mimicme.pipeline.release.permitted import COLUMNS

TITLE = Title("Faces & More", ("Müller, Änne", "A Lab"), "1.0", "", "CC-BY-NC-4.0", "Faces of {six} people.")
TABLE = """subject,age,gender,ethnicity,consent,site,may_appear_in_papers,May train,may_share_raw,research_only
anna,23,female,white,yes 2021-03-04,Ulm,yes,yes,no,yes
bert,31,male,asian,yes,Ulm,no,yes,,no
carl,35,male,white,yes,Bath,,no,no,yes
dora,62,female,black,unsure,Bath,yes,yes,yes,no
emil,44,male,white,yes,Ulm,yes,yes,yes,no
"""
PEOPLE = ("anna", "bert", "carl", "dora", "emil")
PUBLISHED = ("anna", "bert", "carl", "emil")


@pytest.fixture(scope="module")
def lab(fakes: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Releases of five people, one of whom gives no plain yes; names of sequences tell who they are."""
    folder = tmp_path_factory.mktemp("lab")
    given = []
    for person in PEOPLE:
        for name, numbers in ((f"{person}_smile_1", (0, 1, 2)), (f"{person}_smile_2", (3, 4))):
            sequence = replace(fakes.sequence(Item(person, name), numbers), expression="happiness")
            given.append(fakes.checkpoints(folder, sequence))
    for name, shard in (("one", "none"), ("many", "subject")):
        table = parse_subjects(TABLE.encode(), rules=ConsentRules(yes=("unsure",)))
        fakes.packed(folder / name / "release.h5", given, table, shard=shard)
    return folder


@pytest.fixture(params=["one", "many"])
def source(lab: Path, request: pytest.FixtureRequest) -> Path:
    return lab / request.param / "release.h5"


def files(folder: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in sorted(folder.iterdir())}


def test_who_refuses_since_the_release_was_packed_is_left_out(lab: Path, tmp_path: Path) -> None:
    """The release lies in its workspace, whose table says so by now."""
    (tmp_path / "ws").mkdir()
    release = tmp_path / "ws" / "release.h5"
    release.write_bytes((lab / "one" / "release.h5").read_bytes())
    (tmp_path / "ws" / "subjects.csv").write_text(
        TABLE.replace("emil,44,male,white,yes", "emil,44,male,white,no")
    )
    (tmp_path / "ws" / "mimicme.toml").write_text(
        f'[captures]\nroot = "{tmp_path / "captures"}"\n[metadata]\nfile = "subjects.csv"\n'
    )
    done = publish(release, tmp_path / "out", TITLE)
    assert sorted(done.left_out) == ["dora", "emil"]
    assert "by now" in done.left_out["emil"]
    (tmp_path / "ws" / "subjects.csv").unlink()
    with pytest.raises(MimicmeError):
        publish(release, tmp_path / "another", TITLE)


def test_nobodys_id_is_in_it(source: Path, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    done = publish(source, folder, TITLE)
    assert (done.subjects, done.frames, done.rejected) == (4, 20, 0)
    assert list(done.left_out) == ["dora"] and "no plain yes" in done.left_out["dora"]
    assert [f for f in verify(folder / "release.h5", every_image=True) if f.level == "error"] == []
    for person in PEOPLE:
        assert not has_errors(verify(folder / "release.h5", absent=person)), person
        for name, data in files(folder).items():
            assert person.encode() not in data.lower(), name
    for secret in (b"Ulm", b"Bath", b"2021-03-04", b"large-residual", str(tmp_path).encode()):
        assert not any(secret in data for data in files(folder).values())
    with Release(folder / "release.h5") as release:
        assert all(re.fullmatch("P[0-9a-f]{12}", subject) for subject in release.subjects)
        assert {s.item.sequence for s in release.sequences()} == {"happiness", "happiness-2"}
        assert {s.name for s in release.sequences()} == {"happiness", "happiness-2"}
        assert not any(name.startswith("made_by") for s in release.sequences() for name in s.attributes)
        assert all(frame.message == "" for frame in release)
        config = json.loads(release.attributes["config"])
        assert config["bake"] == {"size": 32}


def test_no_digest_of_ids_is_in_it(lab: Path, tmp_path: Path) -> None:
    copy = tmp_path / "lab.h5"
    copy.write_bytes((lab / "one" / "release.h5").read_bytes())
    with h5py.File(copy, "r+") as file:
        config = {"review": {"bad": 2, "digest": "d" * 64}, "bake": {"size": 32}}
        config["converted"] = [{"version": 2, "from": {"release": "f" * 64, "template": "ours"}}]
        del file.attrs["config"]
        guard.put(file.attrs, "config", json.dumps(config))
        digest.seal(file)
    done = publish(copy, tmp_path / "out", TITLE)
    with Release(done.release) as release:
        assert json.loads(release.attributes["config"]) == {
            "review": {"bad": 2},
            "bake": {"size": 32},
            "converted": [{"version": 2}],
        }


def test_the_frames_are_the_same(source: Path, tmp_path: Path) -> None:
    done = publish(source, tmp_path / "out", TITLE)
    ledger = read_ledger(done.ledger)
    assert sorted(ledger) == sorted(PUBLISHED)
    with Release(source) as own, Release(done.release) as given:
        assert own.template.digest == given.template.digest
        for person, known in ledger.items():
            old, new = own.select(subject=person), given.select(subject=known.pseudonym)
            assert len(old) == len(new) == 5
            for a, b in zip(old.tolist(), new.tolist(), strict=True):
                one, other = own.frame(a), given.frame(b)
                np.testing.assert_array_equal(one.vertices, other.vertices)
                np.testing.assert_array_equal(one.landmarks, other.landmarks)
                np.testing.assert_array_equal(one.texture, other.texture)
                assert one.quality == pytest.approx(other.quality, nan_ok=True) and one.number == other.number
            said, told = own.subjects[person], given.subjects[known.pseudonym]
            assert all(said[name] == told[name] for name in ("age", "gender", "ethnicity"))
            assert told["consent"] == "yes" and told["split"] == known.split and "site" not in told
            for use in COLUMNS:
                assert own.permits(person, use) == given.permits(known.pseudonym, use)


def test_the_key_stays_at_home(source: Path, tmp_path: Path) -> None:
    done = publish(source, tmp_path / "out", TITLE)
    assert done.key == tmp_path / "out.key" and done.ledger.parent == tmp_path
    assert {stat.S_IMODE(p.stat().st_mode) for p in (done.key, done.ledger)} == {0o600}
    assert not any(done.key.read_bytes().strip() in data for data in files(tmp_path / "out").values())
    with pytest.raises(UsageError, match="must not lie in the folder"):
        publish(source, tmp_path / "other", TITLE, PublishSettings(key=tmp_path / "other" / "my.key"))
    (tmp_path / "link").symlink_to(tmp_path / "other")
    with pytest.raises(UsageError, match="must not lie in the folder"):
        publish(source, tmp_path / "other", TITLE, PublishSettings(key=tmp_path / "link" / "my.key"))
    (tmp_path / "short.key").write_text("secret")
    with pytest.raises(UsageError, match="no key"):
        publish(source, tmp_path / "other", TITLE, PublishSettings(key=tmp_path / "short.key"))
    other = publish(source, tmp_path / "two", TITLE, PublishSettings(key=tmp_path / "two.key"))
    assert set(Release(other.release).subjects).isdisjoint(Release(done.release).subjects)
    assert Release(other.release).fingerprint != Release(done.release).fingerprint
    marks = [{p.name.split("@")[2] for p in d.release.parent.glob("*@*")} for d in (done, other)]
    assert marks[0].isdisjoint(marks[1])  # no name can be found by trying whose shard has this fingerprint


def test_equal_input_gives_equal_bytes_and_a_change_touches_its_own(
    lab: Path, fakes: ModuleType, tmp_path: Path
) -> None:
    key = PublishSettings(key=tmp_path / "k")
    publish(lab / "many" / "release.h5", tmp_path / "a", TITLE, key)
    publish(lab / "many" / "release.h5", tmp_path / "b", TITLE, key)
    first = files(tmp_path / "a")
    assert first == files(tmp_path / "b")
    before = {p.name: p.stat().st_mtime_ns for p in (tmp_path / "b").glob("*@*")}
    assert len(before) == 4
    copy = tmp_path / "lab" / "release.h5"
    copy.parent.mkdir()
    for name, data in files(lab / "many").items():
        (copy.parent / name).write_bytes(data)
    withdraw(copy, "carl")
    publish(copy, tmp_path / "b", TITLE, key)
    after = {p.name: p.stat().st_mtime_ns for p in (tmp_path / "b").glob("*@*")}
    gone = set(before) - set(after)
    assert len(gone) == 1 and after == {n: t for n, t in before.items() if n not in gone}
    name = pseudonyms((tmp_path / "k").read_bytes().strip(), ["carl"])["carl"]
    assert name in next(iter(gone))
    assert not has_errors(verify(tmp_path / "b" / "release.h5", absent=name))
    assert not any(name.encode() in data for data in files(tmp_path / "b").values())


def test_splits_are_kept_in_later_versions(lab: Path, tmp_path: Path) -> None:
    source = lab / "one" / "release.h5"
    first = publish(source, tmp_path / "v1", TITLE, PublishSettings(key=tmp_path / "k", shares="50,25,25"))
    second = publish(source, tmp_path / "v2", TITLE, PublishSettings(key=tmp_path / "k", seed=5))
    splits = [{n: s["split"] for n, s in Release(d.release).subjects.items()} for d in (first, second)]
    assert splits[0] == splits[1]
    assert Counter(splits[0].values()) == {"train": 2, "val": 1, "test": 1}
    assert any("keep the split" in message for message in second.messages)
    assert json.loads(Release(first.release).attributes["publication"])["shares"] == "50,25,25"


def test_a_smaller_publication_in_between_changes_nobodys_split(lab: Path, tmp_path: Path) -> None:
    source, key = lab / "one" / "release.h5", tmp_path / "k"
    publish(source, tmp_path / "v1", TITLE, PublishSettings(key=key))
    before = read_ledger(tmp_path / "k.ledger.csv")
    assert sorted(before) == sorted(PUBLISHED)
    publish(source, tmp_path / "v2", TITLE, PublishSettings(key=key, use="papers"))
    assert read_ledger(tmp_path / "k.ledger.csv") == before
    third = publish(source, tmp_path / "v3", TITLE, PublishSettings(key=key, seed=9))
    assert any("4 subjects keep the split" in message for message in third.messages)


@pytest.mark.parametrize(("column", "trained"), [("may_train,no", 0), ("may_train,yes", 1), ("age,30", 0)])
def test_training_is_shown_and_let_in_where_it_is_plainly_permitted(
    fakes: ModuleType, tmp_path: Path, column: str, trained: int
) -> None:
    """Also where the lab's own table has no such column: what is given away permits nothing then."""
    name, word = column.split(",")
    table = parse_subjects(f"subject,consent,{name}\nanna,yes,{word}\n".encode())
    made = fakes.checkpoints(tmp_path, fakes.sequence(Item("anna", "smile"), (0, 1)))
    fakes.packed(tmp_path / "release.h5", [made], table)
    done = publish(tmp_path / "release.h5", tmp_path / "out", TITLE, PublishSettings(shares="100,0,0"))
    text = (tmp_path / "out" / "README.md").read_text()
    assert ("Nobody in the split `train` permits" in text) is (not trained)
    assert ('use="training"' in text and "training loop" in text) is bool(trained)
    assert f"| training | `may_train` | {trained} of 1 |" in text
    with pytest.raises(UsageError, match="who permits") if not trained else nullcontext():
        ReleaseFrames([done.release], use="training").close()
    assert any("nobody permits any of it" in said for said in done.messages) is (name == "age")


def test_only_who_permits_it(source: Path, tmp_path: Path) -> None:
    done = publish(source, tmp_path / "out", TITLE, PublishSettings(use="papers", key=tmp_path / "k"))
    assert sorted(read_ledger(done.ledger)) == ["anna", "emil"]
    assert sorted(done.left_out) == ["bert", "carl", "dora"]
    done = publish(
        source, tmp_path / "more", TITLE, PublishSettings(consent_yes=("unsure",), key=tmp_path / "k2")
    )
    assert sorted(read_ledger(done.ledger)) == sorted(PEOPLE)


def test_what_would_give_an_id_away_is_refused(source: Path, tmp_path: Path) -> None:
    for title in (replace(TITLE, title="Anna and others"), replace(TITLE, licence="ask emil_m")):
        with pytest.raises(UsageError, match="would give an id away"):
            publish(source, tmp_path / "out", title)
    terms = tmp_path / "terms.txt"
    terms.write_text("Of carl2 and others.")
    with pytest.raises(UsageError, match="the agreement would give"):
        publish(source, tmp_path / "out", TITLE, PublishSettings(agreement=terms))
    assert not (tmp_path / "out").exists()
    terms.write_text("Only on Sundays.")
    publish(source, tmp_path / "out", TITLE, PublishSettings(agreement=terms, columns=("site",)))
    assert (tmp_path / "out" / "AGREEMENT.txt").read_text() == "Only on Sundays."
    assert "Ulm" in (tmp_path / "out" / "subjects.csv").read_text()


def test_a_folder_with_other_things_is_refused(source: Path, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    folder.mkdir()
    (folder / "thesis.tex").write_text("mine")
    with pytest.raises(UsageError, match=r"holds other things.*thesis\.tex"):
        publish(source, folder, TITLE)
    assert [p.name for p in folder.iterdir()] == ["thesis.tex"]


def test_a_publication_that_was_interrupted_goes_on(lab: Path, tmp_path: Path) -> None:
    source, settings = lab / "many" / "release.h5", PublishSettings(key=tmp_path / "k")
    publish(source, tmp_path / "whole", TITLE, settings)
    count = 0

    def stop() -> None:
        nonlocal count
        count += 1
        if count == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        publish(source, tmp_path / "again", TITLE, settings, stop)
    assert not (tmp_path / "again" / "SHA256SUMS").exists()
    before = {p.name: p.stat().st_mtime_ns for p in (tmp_path / "again").glob("*@*")}
    assert len(before) == 2
    for name in (
        ".release.h5.12.tmp",
        ".README.md.12.tmp",
        f".{next(iter(before))}.12.tmp",
    ):  # of one that was killed
        (tmp_path / "again" / name).write_text("half")
    publish(source, tmp_path / "again", TITLE, settings)
    assert files(tmp_path / "again") == files(tmp_path / "whole")
    assert all((tmp_path / "again" / name).stat().st_mtime_ns == at for name, at in before.items())


@pytest.mark.parametrize("vertices", ["float32", "int16"])
@pytest.mark.parametrize("shard", ["none", "subject"])
def test_the_recipes_of_its_readme_work(fakes: ModuleType, tmp_path: Path, shard: str, vertices: str) -> None:
    given = [fakes.checkpoints(tmp_path / "made", fakes.sequence(Item(p, "smile"))) for p in PEOPLE]
    table = parse_subjects(TABLE.encode())
    fakes.packed(tmp_path / "lab.h5", given, table, shard=shard, vertices=vertices)
    publish(tmp_path / "lab.h5", tmp_path / "out", TITLE)
    program = recipes(tmp_path / "out" / "README.md", optional=False)
    assert "release.select(split=" in program and 'use="training"' in program and "h5py.File" in program
    done = subprocess.run(
        [sys.executable, "-c", program + "\nprint(np.abs(vertices - release.vertices(0)).max() < 1e-4)"],
        cwd=tmp_path / "out", capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "(49, 3)" in done.stdout and "happiness" in done.stdout and done.stdout.endswith("True\n")


def test_its_pages_say_what_is_in_it(source: Path, tmp_path: Path) -> None:
    folder = tmp_path / "out"
    publish(source, folder, TITLE)
    sums = dict(reversed(line.split("  ")) for line in (folder / "SHA256SUMS").read_text().splitlines())
    assert sums == {n: digest.of_file(folder / n) for n in files(folder) if n != "SHA256SUMS"}
    people = list(csv.DictReader((folder / "subjects.csv").open()))
    assert len(people) == 4 and {p["frames_ok"] for p in people} == {"5"}
    assert Counter(p["may_train"] for p in people) == {"yes": 3, "no": 1}
    assert Counter(p["research_only"] for p in people) == {"yes": 2, "no": 2}
    cited = (folder / "CITATION.cff").read_text().splitlines()
    assert cited[:4] == [
        "cff-version: 1.2.0",
        "message: If you use this data set, please cite it as below.",
        "type: dataset",
        'title: "Faces & More"',
    ]
    authors = cited[cited.index("authors:") + 1 :]
    assert authors == ['  - family-names: "Müller"', '    given-names: "Änne"', '  - name: "A Lab"']
    assert 'date-released: "2024-01-02"' in cited and 'abstract: "Faces of {six} people."' in cited
    bib = (folder / "CITATION.bib").read_text()
    assert r"Faces \& More" in bib and bib.count("{") - bib.count("}") == 0 and "and {A Lab}" in bib
    sheet = (folder / "datasheet.md").read_text()
    assert "| train | val | test |" in sheet and "| 30-39 | 2 | #" in sheet and "| papers | 2 |" in sheet
    assert "What else the table of subjects had was left out: site." in sheet
    assert "withdrawn" in (folder / "AGREEMENT.txt").read_text()
    described = json.loads((folder / "croissant.json").read_text())
    assert described["@type"] == "sc:Dataset" and "conformsTo" in described
    assert {f["@id"]: f["sha256"] for f in described["distribution"]} == {
        n: s for n, s in sums.items() if n != "croissant.json"
    }
    header = (folder / "subjects.csv").read_text().splitlines()[0].split(",")
    assert [f["name"] for f in described["recordSet"][0]["field"]] == header


def at_home(lab: Path, which: str, home: Path) -> Path:
    home.mkdir()
    for name, data in files(lab / which).items():
        if not name.endswith(publication.ENDING):
            (home / name).write_bytes(data)
    return home / "release.h5"


def is_consistent(folder: Path) -> bool:
    """The release verifies, the checksums are those of the files, and table and pages speak of who is there."""
    assert not has_errors(verify(folder / "release.h5"))
    sums = dict(reversed(line.split("  ")) for line in (folder / "SHA256SUMS").read_text().splitlines())
    assert sums == {n: digest.of_file(folder / n) for n in files(folder) if n != "SHA256SUMS"}
    with Release(folder / "release.h5") as release:
        people, about = release.subjects, publication.of_attributes(release.attributes)
    assert about is not None
    listed = list(csv.DictReader((folder / "subjects.csv").open()))
    assert {p["subject"]: p["split"] for p in listed} == {n: s["split"] for n, s in people.items()}
    counts = Counter(s["split"] for s in people.values())
    said = f"{len(people)} subjects ({counts['train']} train, {counts['val']} val, {counts['test']} test)"
    readme = (folder / "README.md").read_text()
    assert f"Version {about.version}," in readme and said in readme
    assert f"\n{counted(len(people), 'subject')}, " in (folder / "datasheet.md").read_text()
    described = json.loads((folder / "croissant.json").read_text())
    assert described["version"] == about.version and len(described["distribution"]) == len(sums) - 1
    return True


def test_who_withdraws_from_a_published_folder_is_in_none_of_its_files(
    lab: Path, source: Path, tmp_path: Path
) -> None:
    terms = tmp_path / "terms.txt"
    terms.write_text("Only on Sundays.")
    for given, first in (
        (None, "AGREEMENT ON THE USE OF: Faces & More, version 1.0.1"),
        (terms, "Only on Sundays."),
    ):
        home = at_home(lab, source.parent.name, tmp_path / f"home {first[:4]}")
        folder = tmp_path / f"out {first[:4]}"
        done = publish(home, folder, TITLE, PublishSettings(agreement=given))
        assert is_consistent(folder)
        name = read_ledger(done.ledger)["bert"].pseudonym
        (untouched,) = [read_ledger(done.ledger)[one].pseudonym for one in ("anna",)]
        before = files(folder)
        gone = withdraw(folder, "bert", key=done.key, pages=pages.again)
        assert gone.frames == 5
        after = files(folder)
        assert is_consistent(folder)
        assert not any(name.encode() in data for data in after.values()) and not any(name in n for n in after)
        assert all(after[n] == before[n] for n in after if untouched in n)
        assert (folder / "AGREEMENT.txt").read_text().startswith(first)
        assert "| 1.0.1 | 1 subject has withdrawn. |" in (folder / "datasheet.md").read_text()
        assert "had was left out: site." in (folder / "datasheet.md").read_text()
        assert "bert" not in read_ledger(done.ledger) and "anna" in read_ledger(done.ledger)
        with pytest.raises(UsageError, match="no subject"):
            withdraw(folder, "bert", key=done.key, pages=pages.again)
        assert files(folder) == after
        # who was given the folder has the pseudonym alone
        for person in ("anna", "carl", "emil"):
            withdraw(folder / "release.h5", read_ledger(done.ledger)[person].pseudonym, pages=pages.again)
            assert is_consistent(folder)
        assert len(Release(folder / "release.h5")) == 0


def test_a_withdrawal_from_a_published_folder_that_was_interrupted(lab: Path, tmp_path: Path) -> None:
    done = publish(at_home(lab, "many", tmp_path / "home"), tmp_path / "out", TITLE)
    name = read_ledger(done.ledger)["bert"].pseudonym

    def killed(path: Path) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        withdraw(done.release, "bert", key=done.key, pages=killed)
    assert not (tmp_path / "out" / "SHA256SUMS").exists()
    withdraw(done.release, "bert", key=done.key, pages=pages.again)
    assert is_consistent(tmp_path / "out")
    assert not any(name.encode() in data for data in files(tmp_path / "out").values())


def test_withdrawing_with_the_key_mends_published_copies(lab: Path, tmp_path: Path) -> None:
    home = at_home(lab, "one", tmp_path / "home")
    done = publish(home, tmp_path / "out", TITLE)
    shutil.copytree(tmp_path / "out", tmp_path / "out.copy")
    name = read_ledger(done.ledger)["bert"].pseudonym
    said = withdraw(home, "bert", pages=pages.again).messages
    assert any(f"published into '{tmp_path / 'out'}' (version 1.0)" in message for message in said)
    home.write_bytes((lab / "one" / "release.h5").read_bytes())
    said = withdraw(home, "bert", [tmp_path / "out"], pages=pages.again).messages
    assert any("cannot be said without its key" in message for message in said)
    home.write_bytes((lab / "one" / "release.h5").read_bytes())
    said = withdraw(home, "bert", [tmp_path / "out"], done.key, pages.again).messages
    assert any(f"'{name}' is gone from the published release" in message for message in said)
    assert not any("published into" in message for message in said)
    assert is_consistent(tmp_path / "out")
    assert not any(name.encode() in data for data in files(tmp_path / "out").values())
    (known,) = publication.read_history(home)
    assert known.version == "1.0.1" and name not in known.subjects
    assert (
        publish(home, tmp_path / "out", replace(TITLE, version=""), PublishSettings(key=done.key)).version
        == "1.1"
    )
    other = publish(home, tmp_path / "two", TITLE)
    with pytest.raises(UsageError, match="with another key"):
        withdraw(tmp_path / "out", "carl", key=other.key, pages=pages.again)
    with pytest.raises(UsageError, match="have pseudonyms"):
        withdraw(tmp_path / "out", "carl", pages=pages.again)
    with pytest.raises(UsageError, match="no such key"):
        withdraw(home, "carl", key=tmp_path / "nowhere")


@pytest.mark.parametrize("with_key", [True, False])
def test_who_withdraws_from_a_published_folder_alone_is_known_at_home(
    lab: Path, tmp_path: Path, with_key: bool
) -> None:
    home, title = at_home(lab, "one", tmp_path / "home"), replace(TITLE, version="")
    done = publish(home, tmp_path / "out", title)
    name = read_ledger(done.ledger)["bert"].pseudonym
    whom = ("bert", done.key) if with_key else (name, None)
    said = withdraw(tmp_path / "out", whom[0], key=whom[1], pages=pages.again).messages
    assert any("withdraw them there too" in message for message in said)
    (known,) = publication.read_history(home)
    assert known.version == "1.0.1" and known.withdrawn == (name,) and name not in known.subjects
    again = publish(home, tmp_path / "out", title)
    assert again.version == "1.1" and again.subjects == 3
    assert "they have withdrawn, as" in again.left_out["bert"]
    assert name not in Release(again.release).subjects
    elsewhere = publish(home, tmp_path / "new", title, PublishSettings(key=done.key))
    assert name not in Release(elsewhere.release).subjects
    # somebody else's publication in its place is no withdrawal
    other = at_home(lab, "many", tmp_path / "other")
    publish(other, tmp_path / "out", replace(title, title="Others"), PublishSettings(key=done.key))
    assert {one.withdrawn for one in publication.read_history(home)} == {(name,)}
    assert publication.read_history(other)[0].withdrawn == ()
    withdraw(home, "bert", [tmp_path / "out"], done.key, pages.again)
    assert name not in publication.history_of(home).read_text()
    shutil.rmtree(tmp_path / "new")
    assert len(publication.read_history(home)) == 2  # what is gone from here may be with others


def test_pages_that_nobody_makes_again_are_removed(lab: Path, tmp_path: Path) -> None:
    done = publish(at_home(lab, "one", tmp_path / "home"), tmp_path / "out", TITLE)
    gone = withdraw(done.release, "bert", key=done.key)
    assert any("publish again" in message for message in gone.messages)
    assert not (tmp_path / "out" / "subjects.csv").exists() and not (tmp_path / "out" / "SHA256SUMS").exists()


def test_a_version_follows_from_the_one_before(lab: Path, tmp_path: Path) -> None:
    home, title = at_home(lab, "many", tmp_path / "home"), replace(TITLE, version="")
    first = publish(home, tmp_path / "a", title)
    assert first.version == "1.0" and not any("Since version" in m for m in first.messages)
    again = publish(home, tmp_path / "a", title)
    assert again.version == "1.0" and files(tmp_path / "a") == files(again.release.parent)
    key = PublishSettings(key=first.key)
    assert publish(home, tmp_path / "b", title, key).version == "1.0"
    assert files(tmp_path / "a") == files(tmp_path / "b")
    withdraw(home, "carl")
    second = publish(home, tmp_path / "a", title)
    said = "1 gone subject; 3 as before."
    assert second.version == "1.1" and f"Since version 1.0: {said}" in second.messages
    assert f"| 1.1 | {said} |" in (tmp_path / "a" / "datasheet.md").read_text()
    before = files(tmp_path / "a")
    assert publish(home, tmp_path / "a", title).version == "1.1" and files(tmp_path / "a") == before
    third = publish(home, tmp_path / "c", replace(title, description="Of faces."), key)
    assert third.version == "1.2" and any("the same subjects; texts" in m for m in third.messages)
    taken = publish(home, tmp_path / "c", replace(TITLE, version="1.1", doi="10.1/y"), key)
    assert any("published before with other content" in m for m in taken.messages)
    named = publish(home, tmp_path / "c", replace(TITLE, version="May 2026", doi="10.1/x"), key)
    assert named.version == "May 2026"
    publication.history_of(home).unlink()
    with pytest.raises(UsageError, match=r"does not follow.*May 2026.*Give --version"):
        publish(home, tmp_path / "c", title, key)
    with pytest.raises(UsageError, match=r"nobody knows as which version"):
        publish(home, tmp_path / "d", title, key)


def test_another_key_is_told_and_the_first_is_named(lab: Path, tmp_path: Path) -> None:
    home, title = at_home(lab, "one", tmp_path / "home"), replace(TITLE, version="")
    first = publish(home, tmp_path / "out", title)
    assert not any("key" in message for message in first.messages)
    second = publish(home, tmp_path / "out2", title)
    (said,) = [message for message in second.messages if "everybody has another pseudonym here" in message]
    assert f"--key {first.key}" in said and str(tmp_path / "out") in said
    assert set(Release(first.release).subjects).isdisjoint(Release(second.release).subjects)
    same = publish(home, tmp_path / "out", title, PublishSettings(key=second.key))
    assert same.version == "1.0" and set(Release(same.release).subjects) == set(
        Release(second.release).subjects
    )
    third = publish(home, tmp_path / "out", title, PublishSettings(key=tmp_path / "k3"))
    assert third.version == "2.0" and any("another pseudonym than before" in m for m in third.messages)


def test_the_scheme_of_shards_is_kept(fakes: ModuleType, tmp_path: Path) -> None:
    people = [f"S{k:03d}" for k in range(8)]
    given = [fakes.checkpoints(tmp_path / "made", fakes.sequence(Item(p, "smile"))) for p in people]
    table = parse_subjects("\n".join(["subject,consent", *(f"{p},yes" for p in people)]).encode())
    home = tmp_path / "home" / "release.h5"
    fakes.packed(home, given, table, shard=2e-4)
    held = shards.of_file(home)
    assert held and 1 < len(held) < 8
    done = publish(home, tmp_path / "out", TITLE)
    published = shards.of_file(done.release)
    assert published and 1 < len(published) < 8
    assert sorted(s for one in published for s in one.subjects) == sorted(Release(done.release).subjects)
    assert all(set(one.name.split("@")[1]) <= set("01") for one in published)
    each = publish(home, tmp_path / "each", TITLE, PublishSettings(shard="subject", key=done.key))
    assert len(shards.of_file(each.release) or ()) == 8


def test_the_command_line(source: Path, tmp_path: Path) -> None:
    command = ("publish", source, tmp_path / "out", "--title", "Faces", "--author", "Doe, Jane")
    done = mimicme_here(*command)
    assert (
        "4 subjects with 20 registered frames under pseudonyms" in done.stdout and "verified" in done.stdout
    )
    assert "'dora' is left out" in done.stderr
    assert "--shard" in mimicme_here(*command, "--shard", "many", code=2).stderr


def test_a_rejected_frame_is_not_counted_as_a_registered_one(fakes: ModuleType, tmp_path: Path) -> None:
    """The command and the README that it writes say one number."""
    home = tmp_path / "home" / "release.h5"
    fakes.packed(
        home, fakes.inputs(tmp_path / "made"), parse_subjects(b"subject,consent\nS001,yes\nS002,yes\n")
    )
    with Release(home) as release:
        ok, rejected = (
            int(n) for n in ((release.index["status"] == OK).sum(), (release.index["status"] != OK).sum())
        )
    assert ok and rejected
    said = mimicme_here("publish", home, tmp_path / "out", "--title", "Faces", "--author", "Doe, Jane").stdout
    assert f"2 subjects with {ok} registered frames ({rejected} more rejected) under pseudonyms" in said
    assert f"{ok} registered frames" in " ".join((tmp_path / "out" / "README.md").read_text().split())


# -- splits and names


def crowd(count: int) -> dict[str, dict[str, Any]]:
    rng = np.random.default_rng(3)
    return {
        f"P{k:03d}": {
            "age": int(rng.integers(18, 70)),
            "gender": ("female", "male")[int(rng.integers(2))],
            "ethnicity": ("asian", "black", "white")[int(rng.integers(3))],
        }
        for k in range(count)
    }


def test_splits_have_their_share_of_every_stratum() -> None:
    people, shares = crowd(400), shares_of("80,10,10")
    found = assign(people, shares, 0)
    assert set(found) == set(people)
    for split, share in shares.items():
        assert abs(sum(s == split for s in found.values()) - share * 400) <= 1
    for group in {stratum(p) for p in people.values()}:
        inside = [n for n, p in people.items() if stratum(p) == group]
        for split, share in shares.items():
            assert abs(sum(found[n] == split for n in inside) - share * len(inside)) <= 1.5
    assert found == assign(dict(reversed(people.items())), shares, 0)
    assert found != assign(people, shares, 1)
    more = {**people, "Q": {"age": 30}}
    assert {n: s for n, s in assign(more, shares, 0, found).items() if n != "Q"} == found


@pytest.mark.parametrize("text", ["", "80,20", "a,b,c", "0,0,0", "-1,1,1", "nan,1,1"])
def test_shares_that_are_none(text: str) -> None:
    with pytest.raises(UsageError, match="no shares"):
        shares_of(text)


def test_names_and_bands() -> None:
    assert tuple(shares_of("8,1,1")) == NAMES and shares_of("8,1,1")["val"] == pytest.approx(0.1)
    assert [age_band({"age": a}) for a in (9, 20, 29.5, "unknown", -3)] == [
        "0-9",
        "20-29",
        "20-29",
        "unknown",
        "unknown",
    ]
    named = sequence_names({"b_smile": "happiness", "a_smile": "happiness", "x": "pout", "y": ""})
    assert named == {"a_smile": "happiness", "b_smile": "happiness-2", "x": "pout", "y": "sequence"}
    key = b"0" * 64
    assert pseudonyms(key, ["S001"]) == pseudonyms(key, ["S001"]) != pseudonyms(b"1" * 64, ["S001"])


def test_a_release_of_before_is_packed_again_first(fakes: ModuleType, lab: Path, tmp_path: Path) -> None:
    path = tmp_path / "r.h5"
    path.write_bytes((lab / "one" / "release.h5").read_bytes())
    fakes.make_older(path)
    with pytest.raises(UsageError, match="too old"):
        publish(path, tmp_path / "out", TITLE)
    with h5py.File(path) as file:
        assert "subjects" in file


@pytest.mark.parametrize(
    "licence",
    [
        "The data cannot be used to train models.",
        "This licence doesn't allow training.",
        "This licence doesn’t allow training.",
        "Training is disallowed.",
        "You must refrain from training.",
        "The data shall not be used\nfor training.",
        "The data shall not be used\r\nfor training.",
        "They must not be used, e.g. for training.",
        "For any use other than the training of networks.",
        "You may not:\n\n(a) sell the data;\n(b) train models.",
        "Der Gebrauch zum Trainieren von Modellen ist ausgeschlossen.",
    ],
)
def test_a_ban_on_training_is_found_in_many_wordings(licence: str) -> None:
    assert forbids_training(licence)


@pytest.mark.parametrize(
    "licence",
    [
        "",
        "CC BY-NC 4.0",
        "No commercial use; models may be trained.",
        "Do not pass it on. You may train models.",
        "Do not pass it on\n  \nTraining is welcome",
    ],
)
def test_a_ban_on_something_else_is_none_on_training(licence: str) -> None:
    assert not forbids_training(licence)


@pytest.mark.parametrize(
    ("licence", "shown"),
    [
        ("Research only; no commercial use. Models may be trained.", True),
        ("CC BY-NC 4.0", True),
        ("Not for training machine learning models.", False),
        ("Verboten ist das Trainieren von Modellen", False),
    ],
)
def test_a_licence_that_forbids_training_is_not_followed_by_a_training_loop(
    fakes: ModuleType, tmp_path: Path, licence: str, shown: bool
) -> None:
    table = parse_subjects(b"subject,consent,may_train\nanna,yes,yes\n")
    made = fakes.checkpoints(tmp_path, fakes.sequence(Item("anna", "smile"), (0, 1)))
    fakes.packed(tmp_path / "release.h5", [made], table)
    settings = PublishSettings(shares="100,0,0")
    publish(tmp_path / "release.h5", tmp_path / "out", replace(TITLE, licence=licence), settings)
    text = (tmp_path / "out" / "README.md").read_text()
    assert ("training loop" in text) is shown
    assert ("The licence speaks of training" in text) is not shown
    # one person: nobody is tested on
    assert "Nobody is in `val` or `test`" in text and "report on `test`" not in text
