"""Packing: whose status counts, what a failed stage leaves, who is left out, and what is refused."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import h5py
import numpy as np
import pytest

from mimicme.commands.verify import has_errors, verify
from mimicme.commands.verify.apart import verify_apart
from mimicme.pipeline import checkpoint
from mimicme.pipeline.captures.metadata import SubjectTable, parse_subjects
from mimicme.pipeline.checkpoint import Checkpoint, FrameStatus, writing
from mimicme.pipeline.errors import CheckpointError, ConfigError, FrameRejected, UsageError
from mimicme.pipeline.items import Item, Verdict
from mimicme.pipeline.release import Release, guard
from mimicme.pipeline.stage import Stage
from mimicme.stages import STAGES
from mimicme.stages.pack import PackInput, PackResult, PackSettings
from mimicme.stages.pack.survey import note_verified, verified_by
from mimicme.stages.refine.checkpoint import RefineCheckpoint


def test_counts(fakes: ModuleType, tmp_path: Path) -> None:
    result = fakes.packed(tmp_path / "r.h5", fakes.inputs(tmp_path))
    assert (result.ok, result.rejected, result.failed) == (5, 1, ())
    (message,) = result.messages
    assert message.startswith("metadata: what stands in site goes into the release as it is")


@pytest.mark.parametrize("lost", ["ingest", "register"])
def test_a_failed_stage_rejects_the_sequence_and_keeps_the_others(
    fakes: ModuleType, tmp_path: Path, lost: str
) -> None:
    error = FrameRejected("nan-vertices", "two vertices are NaN")
    stages = ("ingest", "landmarks", "align", "register", "repass", "refine", "bake", "project")
    without = stages[stages.index(lost) :]
    given = [
        fakes.checkpoints(tmp_path, fakes.sequence(fakes.SMILE, (3, 4)), bad={0: error}, without=without),
        fakes.checkpoints(tmp_path, fakes.sequence(fakes.OTHER)),
    ]
    result = fakes.packed(tmp_path / "r.h5", given)
    assert (result.ok, result.rejected, result.failed) == (3, 2, (f"S001/smile: {lost}",))
    with Release(tmp_path / "r.h5") as release:
        frame = release[0]
        assert (frame.number, frame.status, frame.reason) == (3, "rejected", "stage-failed")
        assert lost in frame.message
        assert np.isnan(frame.vertices).all()
    assert verify(tmp_path / "r.h5") == []


def test_times_and_rate_that_names_told_arrive(fakes: ModuleType, tmp_path: Path) -> None:
    sequence = fakes.sequence(fakes.SMILE)
    frames = tuple(replace(f, time_s=time) for f, time in zip(sequence.frames, (0, 0.04, 0.12), strict=True))
    named = replace(sequence, frames=frames, named_fps=25.0)
    given = fakes.checkpoints(tmp_path, named)
    with h5py.File(given.checkpoints["ingest"], "r+") as file:
        file["time_s"] = [0, 0.04, 0.12]
    for checkpoints in (given.checkpoints, {}):  # of a sequence that is lost too
        fakes.packed(
            tmp_path / "r.h5",
            [PackInput(named, checkpoints), fakes.checkpoints(tmp_path, fakes.sequence(fakes.OTHER))],
        )
        with Release(tmp_path / "r.h5") as release:
            assert release.times(fakes.SMILE).tolist() == [0, 0.04, 0.12]
        assert verify(tmp_path / "r.h5") == []


@pytest.mark.parametrize("lost", ["bake", "project"])
def test_without_texture_or_landmarks_the_geometry_arrives(
    fakes: ModuleType, tmp_path: Path, lost: str
) -> None:
    given = [fakes.checkpoints(tmp_path, fakes.sequence(fakes.SMILE), without=(lost,))]
    result = fakes.packed(tmp_path / "r.h5", given)
    assert (result.ok, result.failed) == (3, ())
    with Release(tmp_path / "r.h5") as release:
        frame = release[0]
        assert frame.note == f"no-{lost}"
        assert np.isfinite(frame.vertices).all()
        assert (frame.texture is None) == (lost == "bake")
        assert np.isnan(frame.landmarks).all() == (lost == "project")
    assert verify(tmp_path / "r.h5") == []


def test_a_later_rejection_is_a_note(fakes: ModuleType, tmp_path: Path) -> None:
    given = fakes.checkpoints(tmp_path, fakes.sequence(fakes.SMILE), without=("bake",))
    path = tmp_path / "bake.h5"
    with writing(path, stage="bake", item="S001/smile", made_by={}) as out:
        out.frames([0, 1, 2], [FrameStatus(note="holes", message="It has holes.")] * 3)
        out.reject(1, FrameRejected("dark", "the photograph is black"))
    fakes.packed(tmp_path / "r.h5", [PackInput(given.sequence, {**given.checkpoints, "bake": path})])
    with Release(tmp_path / "r.h5") as release:
        assert [f.status for f in release] == ["ok"] * 3
        assert [f.note for f in release] == ["holes", "holes,bake:dark", "holes"]
        assert "black" in release[1].message
        assert release[1].texture is None


def test_all_figures_of_all_stages_are_in_every_sequence(fakes: ModuleType, tmp_path: Path) -> None:
    given = fakes.checkpoints(tmp_path, fakes.sequence(fakes.SMILE))
    with h5py.File(given.checkpoints["refine"], "r+") as file:
        file.create_dataset("quality/stretch", data=np.array([1, 2, 3], "f4")).attrs["unit"] = "1"
    fakes.packed(tmp_path / "r.h5", [given, fakes.checkpoints(tmp_path, fakes.sequence(fakes.OTHER))])
    with Release(tmp_path / "r.h5") as release:
        assert [f.quality["stretch"] for f in release][:3] == [1, 2, 3]
        assert np.isnan(release[3].quality["stretch"])
        assert release[3].quality["scan_vertices"] == 1000
        assert release.units(fakes.OTHER) == release.units(fakes.SMILE)
        assert release.units(fakes.SMILE)["stretch"] == "1"


def test_a_figure_that_two_stages_give_is_the_later_ones(fakes: ModuleType, tmp_path: Path) -> None:
    """As what a mesh's error is expected to be: once refined it is the refined mesh's."""
    given = fakes.checkpoints(tmp_path, fakes.sequence(fakes.SMILE))
    for stage, values in (("register", [9, 9, 9]), ("refine", [1, 2, 3])):
        with h5py.File(given.checkpoints[stage], "r+") as file:
            made = file.create_dataset("quality/expected_error", data=np.array(values, "f4"))
            made.attrs["unit"] = "mm"
    fakes.packed(tmp_path / "r.h5", [given])
    with Release(tmp_path / "r.h5") as release:
        assert [f.quality["expected_error"] for f in release] == [1, 2, 3]


def test_where_hair_was_seen_is_in_the_release_and_nothing_where_none_was(
    fakes: ModuleType, tmp_path: Path
) -> None:
    given = fakes.checkpoints(tmp_path, fakes.sequence(fakes.SMILE))
    with h5py.File(given.checkpoints["refine"], "r+") as file:
        seen = np.full(file["vertices"].shape[:2], 255, np.uint8)
        seen[1, :2] = 3
        file.create_dataset("skin_seen", data=seen)
    fakes.packed(tmp_path / "r.h5", [given, fakes.checkpoints(tmp_path, fakes.sequence(fakes.OTHER))])
    with Release(tmp_path / "r.h5") as release:
        assert [f.status for f in release][:3].count("ok") >= 2
        np.testing.assert_array_equal(release.field(1, "skin_seen"), seen[1])
        np.testing.assert_array_equal(release.field(0, "skin_seen"), seen[0])
        assert release.field(3, "skin_seen").min() == 255
    with h5py.File(tmp_path / "r.h5") as file:
        held = [
            f"subjects/{item.subject}/{item.sequence}/skin_seen" in file
            for item in (fakes.SMILE, fakes.OTHER)
        ]
    assert held == [True, False]


def test_who_did_not_consent_is_not_there(fakes: ModuleType, tmp_path: Path) -> None:
    table = parse_subjects(b"subject,age,consent\nS001,31,yes\nS002,44,withdrawn\n")
    result = fakes.packed(tmp_path / "r.h5", fakes.inputs(tmp_path), table)
    assert list(result.excluded) == ["S002"]
    assert b"S002" not in (tmp_path / "r.h5").read_bytes()
    with Release(tmp_path / "r.h5") as release:
        assert list(release.subjects) == ["S001"]
        assert len(release) == 4


def test_without_refinement_the_registered_vertices_go_in(fakes: ModuleType, tmp_path: Path) -> None:
    sequence = fakes.sequence(fakes.SMILE)
    for name, without in (("all", ()), ("lost", ("refine", "bake", "project"))):
        given = fakes.checkpoints(tmp_path / name, sequence, without=without)
        assert fakes.packed(tmp_path / f"{name}.h5", [given]).failed == ()
    with Release(tmp_path / "all.h5") as whole, Release(tmp_path / "lost.h5") as lost:
        difference = lost.frame(0).vertices - whole.frame(0).vertices
        assert np.allclose(difference, 0.5)
        assert lost.frame(0).note.split(",") == ["no-refine", "no-bake", "no-project"]
        assert "no-refine" not in whole.frame(0).note


def added(
    fakes: ModuleType, root: Path, *, shapes: bool, poses: bool = True
) -> tuple[list[Stage], PackInput]:
    """A flow with a stage after refine that moves all vertices by 2 mm and has no reader of its own."""
    stage = Stage("polish", 1, PackSettings, ("refine",), lambda task, out: None, shapes=shapes)
    place = [s.name for s in STAGES].index("refine") + 1
    given = fakes.checkpoints(root, fakes.sequence(fakes.SMILE))
    path = root / "polish.h5"
    with (
        RefineCheckpoint(given.checkpoints["refine"]) as refine,
        writing(path, stage="polish", item="S001/smile", made_by={}) as out,
    ):
        out.continue_from(refine)
        out.rows("vertices", refine.all_vertices.shape[1:], "f4", "mm")[:] = refine.all_vertices[:] + 2
        if poses:
            out.rows("pose", (4, 4), "f8", "mm")[:] = refine.all_poses
    flow = [*STAGES[:place], stage, *STAGES[place:-1]]
    return flow, PackInput(given.sequence, {**given.checkpoints, "polish": path})


def test_vertices_of_an_added_stage_are_those_of_the_release(fakes: ModuleType, tmp_path: Path) -> None:
    flow, given = added(fakes, tmp_path, shapes=True)
    fakes.packed(tmp_path / "with.h5", [given], stages=flow)
    fakes.packed(tmp_path / "without.h5", [given])
    with Release(tmp_path / "with.h5") as moved, Release(tmp_path / "without.h5") as refined:
        for row in range(3):
            np.testing.assert_allclose(moved.vertices(row) - refined.vertices(row), 2, atol=1e-5)
            np.testing.assert_array_equal(moved.frame(row).pose, refined.frame(row).pose)


def test_vertices_that_cannot_be_those_of_the_release_are_refused(fakes: ModuleType, tmp_path: Path) -> None:
    flow, given = added(fakes, tmp_path / "a", shapes=False)
    with pytest.raises(CheckpointError, match="does not shape.*`shapes=True`"):
        fakes.packed(tmp_path / "r.h5", [given], stages=flow)
    flow, given = added(fakes, tmp_path / "b", shapes=True, poses=False)
    with pytest.raises(CheckpointError, match="has no 'pose'"):
        fakes.packed(tmp_path / "r.h5", [given], stages=flow)
    given = fakes.checkpoints(tmp_path / "c", fakes.sequence(fakes.SMILE))
    bare = {name: path for name, path in given.checkpoints.items() if name not in ("register", "refine")}
    bare |= dict.fromkeys(("register", "refine"), given.checkpoints["repass"])
    with pytest.raises(CheckpointError, match="no checkpoint has registered vertices"):
        fakes.packed(tmp_path / "r.h5", [PackInput(given.sequence, bare)])
    assert not (tmp_path / "r.h5").exists()


def test_subjects_without_a_row_are_unknown(fakes: ModuleType, tmp_path: Path) -> None:
    table = parse_subjects(b"subject,age,consent\nS001,31,yes\n")
    result = fakes.packed(tmp_path / "r.h5", fakes.inputs(tmp_path), table)
    assert any("'S002'" in message for message in result.messages)
    assert Release(tmp_path / "r.h5").subjects["S002"]["age"] == "unknown"
    assert [(f.level, f.where) for f in verify(tmp_path / "r.h5")] == [("warning", "/subjects/S002")]


def test_nothing_to_pack(fakes: ModuleType, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="nothing to pack"):
        fakes.packed(tmp_path / "r.h5", [], SubjectTable())
    assert not (tmp_path / "r.h5").exists()


def test_checkpoints_that_do_not_fit_are_named(fakes: ModuleType, tmp_path: Path) -> None:
    given = fakes.checkpoints(tmp_path, fakes.sequence(fakes.SMILE))
    other = fakes.checkpoints(tmp_path / "x", fakes.sequence(fakes.SMILE, (0, 1)))
    mixed = PackInput(given.sequence, {**given.checkpoints, "project": other.checkpoints["project"]})
    with pytest.raises(CheckpointError, match="project"):
        fakes.packed(tmp_path / "r.h5", [mixed])
    small = fakes.checkpoints(tmp_path / "y", fakes.sequence(fakes.SMILE), shape=fakes.template(5))
    with pytest.raises(CheckpointError, match="25, expected 49"):
        fakes.packed(tmp_path / "r.h5", [small])
    assert not list(tmp_path.glob("*.h5"))
    assert not list(tmp_path.glob(".*"))


def test_nan_in_an_ok_frame_is_refused(fakes: ModuleType, tmp_path: Path) -> None:
    given = fakes.checkpoints(tmp_path, fakes.sequence(fakes.SMILE))
    with h5py.File(given.checkpoints["refine"], "r+") as file:
        file["vertices"][1, 0] = np.nan
    with pytest.raises(CheckpointError, match="row 1 .* not finite"):
        fakes.packed(tmp_path / "r.h5", [given])


def test_a_damaged_checkpoint_is_named(fakes: ModuleType, tmp_path: Path) -> None:
    given = fakes.checkpoints(tmp_path, fakes.sequence(fakes.SMILE))
    path = given.checkpoints["refine"]
    with h5py.File(path) as file:
        chunk = file["vertices"].id.get_chunk_info(1)
    data = bytearray(path.read_bytes())
    data[chunk.byte_offset + chunk.size // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(CheckpointError, match="S001/smile"):
        fakes.packed(tmp_path / "r.h5", [given])
    assert not (tmp_path / "r.h5").exists()


def test_rounding_stays_below_its_step_and_saves_space(fakes: ModuleType, tmp_path: Path) -> None:
    shape = fakes.template(60)
    given = [fakes.checkpoints(tmp_path, fakes.sequence(fakes.SMILE), shape=shape, textures=False)]
    sizes, found = [], []
    fakes_template = fakes.template
    try:
        fakes.template = lambda: shape
        for name, step in (("exact", 0.0), ("rounded", 10.0)):
            fakes.packed(tmp_path / name, given, vertex_step_um=step)
            sizes.append((tmp_path / name).stat().st_size)
            found.append(Release(tmp_path / name).vertices(0))
    finally:
        fakes.template = fakes_template
    assert 0 < np.abs(found[0] - found[1]).max() <= 0.005
    assert sizes[1] < 0.9 * sizes[0]


@pytest.mark.parametrize(
    "wrong",
    [
        {"compression_level": 0},
        {"compression_level": 11},
        {"vertex_step_um": -1},
        {"vertex_step_um": math.nan},
    ],
)
def test_settings_out_of_range_are_refused_before_the_night(wrong: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        PackSettings(**wrong)


def test_notes_keep_whole_codes(fakes: ModuleType, tmp_path: Path) -> None:
    given = fakes.checkpoints(tmp_path, fakes.sequence(fakes.SMILE))
    codes = [f"code-number-{k:02d}-of-many" for k in range(6)]  # 143 bytes, more than 64
    path = tmp_path / "bake.h5"
    with writing(path, stage="bake", item="S001/smile", made_by={}) as out:
        out.frames([0, 1, 2])
        for code in codes:
            out.note(0, code, "It says so.")
        for code in (*codes, "one-that-has-no-room", "nor-has-this"):
            out.note(1, code, "It says so.")
        out.reject(2, FrameRejected("x" * 64, "it is dark"))
    fakes.packed(tmp_path / "r.h5", [PackInput(given.sequence, {**given.checkpoints, "bake": path})])
    with Checkpoint(path) as checkpoint:
        assert [s.note for s in checkpoint.statuses] == [",".join(codes), ",".join([*codes, "more"]), ""]
    with Release(tmp_path / "r.h5") as release:
        assert [f.note for f in release] == [",".join(codes), ",".join([*codes, "more"]), f"bake:{'x' * 64}"]


def test_vertices_of_the_second_pass_go_in_where_nothing_refined_them(
    fakes: ModuleType, tmp_path: Path
) -> None:
    given = fakes.checkpoints(tmp_path, fakes.sequence(fakes.SMILE), without=("refine", "bake", "project"))
    with (
        h5py.File(given.checkpoints["register"]) as first,
        h5py.File(given.checkpoints["repass"], "r+") as second,
    ):
        second["vertices"], second["pose"] = first["vertices"][:] + 2, first["pose"][:]
        expected = second["vertices"][0]
    fakes.packed(tmp_path / "r.h5", [given])
    with Release(tmp_path / "r.h5") as release:
        assert np.array_equal(release.frame(0).vertices, expected)


@pytest.mark.parametrize("stage", ["register", "project"])
def test_landmarks_of_a_rejected_frame_stay_out(fakes: ModuleType, tmp_path: Path, stage: str) -> None:
    """Whatever the checkpoint of `project` holds for it."""
    given = fakes.checkpoints(tmp_path, fakes.sequence(fakes.SMILE))
    with h5py.File(given.checkpoints["project"]) as made:
        assert np.isfinite(made["landmarks"][1]).all()
    with h5py.File(given.checkpoints[stage], "r+") as made:
        table = made["status"][:]
        table["ok"][1], table["reason"][1] = False, b"no-good"
        made["status"][...] = table
    fakes.packed(tmp_path / "r.h5", [given])
    with Release(tmp_path / "r.h5") as release:
        good, bad = release.frame(0), release.frame(1)
        assert np.isfinite(good.landmarks).all()
        assert np.isnan(bad.landmarks).all() and (bad.landmark_source == 0).all()


def test_two_stages_that_give_one_figure_two_units_are_told_apart(fakes: ModuleType, tmp_path: Path) -> None:
    given = fakes.checkpoints(tmp_path, fakes.sequence(fakes.SMILE))
    with h5py.File(given.checkpoints["bake"], "r+") as made:
        made["quality/s2m_p95"] = np.zeros(3, "f4")
        made["quality/s2m_p95"].attrs["unit"] = "cm"
    with pytest.raises(CheckpointError, match="two stages measure 's2m_p95'.*cm and mm"):
        fakes.packed(tmp_path / "r.h5", [given])


def spoil(path: Path, name: str) -> None:
    """Flip a byte in the first chunk of a dataset of a checkpoint; what says what made it stays as it is."""
    with h5py.File(path) as file:
        chunk = file[name].id.get_chunk_info(0)
    data = bytearray(path.read_bytes())
    data[chunk.byte_offset + chunk.size // 2] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize(
    ("stage", "name"),
    [
        ("refine", "vertices"),
        ("bake", "frames/000000/texture"),
        ("register", "quality/s2m_median"),
        ("align", "status"),
    ],
)
@pytest.mark.parametrize("shard", ["none", "subject"])
def test_a_flipped_byte_of_a_checkpoint_ends_in_no_release(
    fakes: ModuleType, tmp_path: Path, shard: str, stage: str, name: str
) -> None:
    given = fakes.inputs(tmp_path)
    path = given[-1].checkpoints[stage]
    spoil(path, name)
    with pytest.raises(
        CheckpointError, match=r"was damaged, and is removed.*Run again: it is made anew"
    ) as told:
        fakes.packed(tmp_path / "r.h5", given, shard=shard)
    assert str(path) in str(told.value)
    assert not path.exists() and not (tmp_path / "r.h5").exists()
    assert all(p.exists() for one in given for p in one.checkpoints.values() if p != path)


def opened_while(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Checkpoints and shards that are opened from now on."""
    seen: list[Path] = []
    real = checkpoint.open_hdf5

    def opened(path: Path, *arguments: object, **options: object) -> h5py.File:
        seen.append(Path(path))
        return real(path, *arguments, **options)

    for module in (checkpoint, guard):
        monkeypatch.setattr(module, "open_hdf5", opened)
    return seen


@pytest.mark.parametrize("shard", ["subject", 1e-4])
def test_one_subject_more_opens_its_own_checkpoints_alone(
    fakes: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shard: str | float
) -> None:
    people = [f"S{k:03d}" for k in range(6)]
    table = parse_subjects("\n".join(["subject,consent,site", *(f"{p},yes,Ulm" for p in people)]).encode())
    given = [fakes.checkpoints(tmp_path / "made", fakes.sequence(Item(p, "smile"))) for p in people]
    output, remembered = tmp_path / "r" / "release.h5", tmp_path / "packed.jsonl"

    def pack(count: int, **options: object) -> PackResult:
        return fakes.packed(output, given[:count], table, shard=shard, remembered=remembered, **options)

    def files() -> dict[str, bytes]:
        return {p.name: p.read_bytes() for p in sorted(output.parent.iterdir())}

    fakes.packed(tmp_path / "fresh" / "release.h5", given, table, shard=shard)
    expected = {p.name: p.read_bytes() for p in sorted((tmp_path / "fresh").iterdir())}
    pack(5)
    before = files()
    seen = opened_while(monkeypatch)
    result = pack(6)
    assert files() == expected and (result.ok, result.rejected) == (18, 0)
    made = {p for p in seen if tmp_path / "made" in p.parents}
    new = {name for name in expected if "@" in name and name not in before}
    others = {p.name for p in seen if "@" in p.name} - new
    if shard == "subject":
        assert made == set(given[5].checkpoints.values()) and others == set()
    else:  # those who lie in one shard with the new one are written with it
        assert len(made) < 6 * len(given[5].checkpoints) and others == set()
    seen.clear()
    assert pack(6).ok == 18
    assert files() == expected and seen and {p.name for p in seen} == {"release.h5"}
    # what is not as it was left is looked at again
    moved = given[0].checkpoints["align"]
    moved.write_bytes(moved.read_bytes())
    (own,) = [
        p for p in output.parent.glob("*@*") if p.name == min(expected, key=lambda n: (n.count("@") != 2, n))
    ]
    own.touch()
    seen.clear()
    pack(6)
    assert files() == expected and moved in seen and own in seen
    for spoiled in (lambda data: data[:-9], lambda data: data.replace(b"mm", b"cm"), lambda data: b""):
        remembered.write_bytes(spoiled(remembered.read_bytes()))
        pack(6)
        assert files() == expected
    seen.clear()
    data = bytearray(output.read_bytes())
    data[data.index(b"Ulm")] ^= 1
    output.write_bytes(data)
    pack(6)
    assert files() == expected and {p.name for p in seen} >= {n for n in expected if "@" in n}


def test_what_was_verified_and_not_touched_need_not_be_again(
    fakes: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    people = [f"S{k:03d}" for k in range(4)]
    table = parse_subjects("\n".join(["subject,consent", *(f"{p},yes" for p in people)]).encode())
    given = [fakes.checkpoints(tmp_path / "made", fakes.sequence(Item(p, "smile"))) for p in people]
    output, remembered = tmp_path / "r" / "release.h5", tmp_path / "packed.jsonl"

    def pack(count: int) -> PackResult:
        return fakes.packed(output, given[:count], table, shard="subject", remembered=remembered)

    assert pack(3).verified == () and pack(3).verified == ()  # nobody has said so
    assert verified_by(remembered, "these checks") == {}
    said = [p for p in output.parent.glob("release@S002@*")][0].name
    warnings = {said: [(f"{said}:/subjects/S002", "A person should look.")]}
    note_verified(remembered, output.parent, "these checks", warnings)
    (touched,) = output.parent.glob("release@S001@*")
    touched.touch()
    result = pack(4)
    known = verified_by(remembered, "these checks")
    assert sorted(known) == sorted(result.verified) and verified_by(remembered, "other checks") == {}
    assert {name: list(found) for name, found in known.items() if found} == warnings
    assert [name.split("@")[1] for name in result.verified] == ["S000", "S002"]
    seen = opened_while(monkeypatch)
    assert verify(output, but=result.verified) == []
    assert {p.name.split("@")[1] for p in seen if "@" in p.name} == {"S001", "S003"}
    assert verify_apart(output, but=result.verified) == []
    (new,) = output.parent.glob("release@S003@*")
    data = bytearray(new.read_bytes())
    data[len(data) // 2] ^= 1
    new.write_bytes(data)
    assert has_errors(verify(output, but=result.verified))
    note_verified(tmp_path / "nowhere.jsonl", output.parent, "these checks")
    remembered.write_text("spoiled")
    note_verified(remembered, output.parent, "these checks")
    assert verified_by(remembered, "these checks") == {}
    assert remembered.read_text() == "spoiled"


@pytest.mark.parametrize("shard", ["subject", 1e-4])
def test_what_the_table_says_of_somebody_now_is_in_the_index_too(
    fakes: ModuleType, tmp_path: Path, shard: str | float
) -> None:
    people = ("S000", "S001", "S002")
    given = [fakes.checkpoints(tmp_path / "made", fakes.sequence(Item(p, "smile"))) for p in people]
    output, remembered = tmp_path / "r" / "release.h5", tmp_path / "packed.jsonl"
    for site in ("Ulm", "Bonn"):
        rows = ["subject,consent,site", "S000,yes,Ulm", f"S001,yes,{site}", "S002,yes,Ulm"]
        table = parse_subjects("\n".join(rows).encode())
        fakes.packed(output, given, table, shard=shard, remembered=remembered)
        assert verify(output) == []
        with Release(output) as release:
            assert [release.subjects[p]["site"] for p in people] == ["Ulm", site, "Ulm"]


def test_a_frame_that_is_called_bad_is_rejected_in_its_shard_and_comes_back(
    fakes: ModuleType, tmp_path: Path
) -> None:
    output, remembered = tmp_path / "r" / "release.h5", tmp_path / "packed.jsonl"
    given = [fakes.checkpoints(tmp_path / "made", fakes.sequence(Item(p, "smile"))) for p in ("S000", "S001")]
    bad = Verdict(False, "drifted cheek")
    frames = given[1].sequence.frames
    called = replace(
        given[1].sequence, frames=tuple(replace(f, verdict=bad) if f is frames[1] else f for f in frames)
    )
    table = parse_subjects(b"subject,consent\nS000,yes\nS001,yes\n")
    for sequence, rejected in ((given[1].sequence, 0), (called, 1), (given[1].sequence, 0)):
        now = [given[0], replace(given[1], sequence=sequence)]
        result = fakes.packed(output, now, table, shard="subject", remembered=remembered)
        assert (result.ok, result.rejected) == (6 - rejected, rejected)
        with Release(output) as release:
            assert release.frame(release.sequence("S001", "smile").rows[1]).ok is not bool(rejected)
        assert verify(output) == []
        note_verified(remembered, output.parent, "these checks")
