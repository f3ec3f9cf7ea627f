"""Every promise of a release, broken once: each is found, at its place; a good release has no finding."""

from __future__ import annotations

import json
import tracemalloc
import zlib
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import h5py
import numpy as np
import pytest

from mimicme.commands import verify as verification
from mimicme.commands.verify import Finding, has_errors, verify
from mimicme.commands.verify.checks import CHECKS
from mimicme.commands.verify.finding import LEVELS
from mimicme.pipeline.release import guard
from mimicme.pipeline.release.packing import fletcher32

SMILE = "/subjects/S001/smile"


@pytest.fixture
def copy(good_release: Path, tmp_path: Path) -> Path:
    target = tmp_path / "copy.h5"
    target.write_bytes(good_release.read_bytes())
    return target


def rewritten(file: h5py.File, name: str, **changes: object) -> None:
    """The dataset again with the same content but, for instance, without checksum."""
    old = file[name]
    options = {"data": old[()], "compression": "gzip", "fletcher32": True, "chunks": old.chunks} | changes
    attributes = dict(old.attrs)
    del file[name]
    file.create_dataset(name, **options).attrs.update(attributes)


def test_a_good_release_has_no_finding(good_release: Path) -> None:
    assert verify(good_release) == []
    assert verify(good_release, every_image=True) == []
    assert not has_errors([])


def test_other_checks_have_another_mark(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = verification.mark()
    here = Path(verification.__file__)
    for file in here.parent.glob("*.py"):
        (tmp_path / file.name).write_bytes(file.read_bytes())
    monkeypatch.setattr(verification, "__file__", str(tmp_path / here.name))
    assert verification.mark() == own  # wherever it is installed
    changed = tmp_path / "sequence.py"
    changed.write_text(changed.read_text().replace("MOVE_MM = 80.0", "MOVE_MM = 70.0"))
    assert verification.mark() != own


def test_a_warning_is_no_reason_not_to_use_it() -> None:
    todo = {level: Finding(level, "/", "A licence.", "root").todo for level in LEVELS}
    assert "can be used" in todo["warning"] and "Do not use it" in todo["error"] == todo["unknown"]


def test_what_a_file_says_moves_no_cursor() -> None:
    said = str(Finding("error", "/subjects/\x1b[2J", "status is 'a\nb\x07\udcff'."))
    assert said == r"error: /subjects/\x1b[2J: status is 'a\nb\x07\udcff'."


def test_a_frame_that_unpacks_to_more_than_it_says_is_a_finding(copy: Path) -> None:
    with h5py.File(copy, "r+") as file:
        data = file[f"{SMILE}/vertices"]
        stream = zlib.compress(bytes(1 << 26), 9)  # thousands of times the frame, in its place
        chunk = (stream + fletcher32(stream).to_bytes(4, "little"))[: 12 * data.shape[1]]
        data.id.write_direct_chunk((0, 0, 0), chunk)
    tracemalloc.start()
    found = [f for f in verify(copy) if f.where == f"{SMILE}/vertices row 0"]
    assert [f.level for f in found] == ["error"] and "damaged" in found[0].message
    assert tracemalloc.get_traced_memory()[1] < 1 << 24
    tracemalloc.stop()


def put(name: str, key: object, value: object) -> Callable[[h5py.File], None]:
    def change(file: h5py.File) -> None:
        file[name][key] = value

    return change


def attribute(name: str, key: str, value: object) -> Callable[[h5py.File], None]:
    def change(file: h5py.File) -> None:
        if value is None:
            del file[name].attrs[key]
        else:
            file[name].attrs[key] = value

    return change


def drop(name: str) -> Callable[[h5py.File], None]:
    def change(file: h5py.File) -> None:
        del file[name]

    return change


def again(name: str, **changes: object) -> Callable[[h5py.File], None]:
    return lambda file: rewritten(file, name, **changes)


def column(name: str, row: int, field: str, value: object) -> Callable[[h5py.File], None]:
    def change(file: h5py.File) -> None:
        table = file[name][:]
        table[field][row] = value
        file[name][:] = table

    return change


def bare(name: str) -> Callable[[h5py.File], None]:
    """Without compression, checksum and chunks."""
    return again(name, compression=None, fletcher32=None, chunks=None)


def mirrored(file: h5py.File) -> None:
    pose = file[f"{SMILE}/pose"][0]
    pose[:3, 0] *= -1
    file[f"{SMILE}/pose"][0] = pose


def metres(file: h5py.File) -> None:
    file[f"{SMILE}/vertices"][0] = file[f"{SMILE}/vertices"][0] / 1000


def micrometres(file: h5py.File) -> None:
    file[f"{SMILE}/vertices"][0] = file[f"{SMILE}/vertices"][0] * 1000


def external(file: h5py.File) -> None:
    del file[f"{SMILE}/pose"]
    file[f"{SMILE}/pose"] = h5py.ExternalLink("/etc/passwd", "/")


def soft(file: h5py.File) -> None:
    del file[f"{SMILE}/pose"]
    file[f"{SMILE}/pose"] = h5py.SoftLink("/subjects/S002/smile/pose")


def external_storage(file: h5py.File) -> None:
    del file[f"{SMILE}/pose"]
    file[SMILE].create_dataset("pose", (3, 4, 4), "f8", external=[("/etc/passwd", 0, 384)])


def loop(file: h5py.File) -> None:
    file[f"{SMILE}/again"] = file["subjects"]


def not_an_image(file: h5py.File) -> None:
    file[f"{SMILE}/texture/bytes"][:8] = np.zeros(8, np.uint8)


def half_an_image(file: h5py.File) -> None:
    offset = file[f"{SMILE}/texture/offset"][:]
    file[f"{SMILE}/texture/bytes"][int(offset[1]) // 2 : int(offset[1])] = 0


def removed_sequence(file: h5py.File) -> None:
    del file["subjects/S002/smile"]


BROKEN = {
    "nan in an ok row": (put(f"{SMILE}/vertices", (0, 3), np.nan), f"{SMILE}/vertices row 0", "not finite"),
    "numbers in a rejected row": (put(f"{SMILE}/vertices", 1, 0.0), f"{SMILE}/vertices row 1", "rejected"),
    "metres": (metres, f"{SMILE}/vertices row 0", "mm"),
    "micrometres": (micrometres, f"{SMILE}/vertices row 0", "mm"),
    "unit": (attribute(f"{SMILE}/vertices", "unit", "m"), f"{SMILE}/vertices", "expected 'mm'"),
    "no unit": (attribute(f"{SMILE}/pose", "unit", None), f"{SMILE}/pose", "unit"),
    "root units": (attribute("/", "units", "m"), "/", "expected 'mm'"),
    "config": (attribute("/", "config", "{"), "/", "JSON"),
    "created": (attribute("/", "created", "yesterday"), "/", "ISO 8601"),
    "version": (attribute("/", "schema_version", "9.0"), "/", "schema_version"),
    "no checksum": (again(f"{SMILE}/pose", fletcher32=False), f"{SMILE}/pose", "checksum"),
    "no checksum of one row": (
        bare("/subjects/S001/neutral/frame"),
        "/subjects/S001/neutral/frame",
        "checksum",
    ),
    "no checksum of quality": (bare(f"{SMILE}/quality"), f"{SMILE}/quality", "checksum"),
    "no checksum of messages": (bare(f"{SMILE}/message"), f"{SMILE}/message", "checksum"),
    "no checksum of the index": (bare("/index"), "/index", "checksum"),
    "no checksum of names": (bare("/template/landmark_names"), "/template/landmark_names", "checksum"),
    "no checksum of a mask": (bare("/template/masks/nose"), "/template/masks/nose", "checksum"),
    "mask of another mesh": (
        again("/template/masks/nose", data=np.ones(5, "f4"), chunks=(5,)),
        "/template/masks/nose",
        "expected 49",
    ),
    "type": (again(f"{SMILE}/vertices", dtype="f8"), f"{SMILE}/vertices", "float64"),
    "mirrored pose": (mirrored, f"{SMILE}/pose row 0", "mirrors"),
    "scaled pose": (put(f"{SMILE}/pose", (0, 0, 0), 2.0), f"{SMILE}/pose row 0", "not rigid"),
    "pose missing": (drop(f"{SMILE}/pose"), f"{SMILE}/pose", "missing"),
    "external link": (external, f"{SMILE}/pose", "link"),
    "soft link": (soft, f"{SMILE}/pose", "link"),
    "external storage": (external_storage, f"{SMILE}/pose", "another file"),
    "a group inside itself": (loop, f"{SMILE}/again", "another name"),
    "index frame": (column("/index", 2, "frame", 9), "/index row 2", "frame is 9"),
    "index status": (column("/index", 1, "status", b"rejected"), "/index row 1", "status"),
    "index subject": (column("/index", 0, "subject", b"S009"), "/index row 0", "subject"),
    "index too long": (removed_sequence, "/index", "6 rows"),
    "no index": (drop("/index"), "/index", "missing"),
    "frame numbers": (put(f"{SMILE}/frame", 2, 0), f"{SMILE}/frame row 2", "do not rise"),
    "times": (put(f"{SMILE}/time_s", 2, -1.0), f"{SMILE}/time_s", "fall"),
    "first time": (put(f"{SMILE}/time_s", 0, -1.0), f"{SMILE}/time_s", "first time"),
    "status": (column(f"{SMILE}/quality", 0, "status", b"fine"), f"{SMILE}/quality row 0", "'fine'"),
    "reason": (column(f"{SMILE}/quality", 1, "reason", b""), f"{SMILE}/quality row 1", "without a reason"),
    "figure": (column(f"{SMILE}/quality", 0, "s2m_p95", -1), f"{SMILE}/quality row 0", "s2m_p95"),
    "offsets": (put(f"{SMILE}/texture/offset", 1, 2**40), f"{SMILE}/texture/offset row 1", "fall"),
    "last offset": (put(f"{SMILE}/coverage/offset", 3, 5), f"{SMILE}/coverage/offset", "expected 0 to"),
    "no image": (not_an_image, f"{SMILE}/texture row 0", "decoded"),
    "half an image": (half_an_image, f"{SMILE}/texture row 0", "decoded"),
    "source": (put(f"{SMILE}/landmark_source", (0, 1), 0), f"{SMILE}/landmarks row 0", "do not agree"),
    "confidence": (put(f"{SMILE}/landmark_confidence", (0, 1), 7), f"{SMILE}/landmark_confidence", "[0, 1]"),
    "visible": (put(f"{SMILE}/landmark_visible", (0, 1, 2), 7), f"{SMILE}/landmark_visible", "neither"),
    "face": (put("/template/faces", (4, 1), 999), "/template/faces row 4", "points past 48"),
    "weights": (put("/template/landmark_weights", (0, 0), 0.5), "/template/landmark_weights", "add up"),
    "attribute": (attribute(SMILE, "expression", None), SMILE, "expression"),
    "fps": (attribute(SMILE, "fps", -1.0), SMILE, "fps"),
    "axes": (attribute(SMILE, "file_from_scan", -np.eye(4)[:3]), SMILE, "(4, 4)"),
    "consent": (attribute("/subjects/S001", "consent", "withdrawn"), "/subjects/S001", "must not be here"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_it_is_found(copy: Path, name: str) -> None:
    change, where, said = BROKEN[name]
    with h5py.File(copy, "r+") as file:
        change(file)
    findings = verify(copy)
    assert has_errors(findings)
    assert any(f.where == where and said in f.message for f in findings), "\n".join(map(str, findings))


@pytest.mark.parametrize(
    ("name", "chunk", "where"),
    [
        ("vertices", 1, "vertices row 2"),
        ("pose", 2, "pose rows 2 to 2"),
        ("texture/bytes", 0, "texture/bytes rows 0"),
        ("quality", 0, "quality rows 0 to 2"),
        ("landmarks", 0, "landmarks rows 0 to 0"),
    ],
)
def test_a_flipped_byte_is_found_in_its_chunk(copy: Path, name: str, chunk: int, where: str) -> None:
    data = bytearray(copy.read_bytes())
    with h5py.File(copy) as file:
        place = file[f"{SMILE}/{name}"].id.get_chunk_info(chunk)
    data[place.byte_offset + place.size // 2] ^= 0x10
    copy.write_bytes(data)
    (finding, *others) = [f for f in verify(copy) if f.where.startswith(SMILE)]
    assert finding.where.startswith(f"{SMILE}/{where}")
    assert "damaged" in finding.message
    assert not others


def test_doubts_are_warnings(fakes: ModuleType, copy: Path) -> None:
    with h5py.File(copy, "r+") as file:
        file["subjects/S001"].attrs["consent"] = "unknown"
        guard.put(file.attrs, "licence", "")
    fakes.reindex(copy)
    findings = verify(copy)
    assert {(f.level, f.where) for f in findings} == {("warning", "/subjects/S001"), ("warning", "/")}
    assert not has_errors(findings)


@pytest.mark.parametrize("cut", [0, 100, 0.5, 0.99])
def test_a_file_that_is_cut_short(copy: Path, cut: float) -> None:
    size = copy.stat().st_size
    copy.write_bytes(copy.read_bytes()[: int(cut if cut >= 1 else cut * size)])
    assert has_errors(verify(copy))


def test_random_damage_is_never_a_crash(good_release: Path, tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    original = np.frombuffer(good_release.read_bytes(), np.uint8)
    for trial in range(25):
        data = original.copy()
        data[rng.integers(0, len(data), 40)] = rng.integers(0, 256, 40)
        path = tmp_path / f"{trial}.h5"
        path.write_bytes(data.tobytes())
        assert all(isinstance(f, Finding) for f in verify(path))
        path.unlink()


def test_units_of_the_figures_are_readable(good_release: Path) -> None:
    with h5py.File(good_release) as file:
        assert json.loads(file[f"{SMILE}/quality"].attrs["unit"])["landmark_error"] == "mm"


@pytest.fixture(scope="module")
def mapped(fakes: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("maps")
    fakes.packed(folder / "release.h5", fakes.inputs(folder, maps=("normal", "displacement")))
    return folder / "release.h5"


def swapped(file: h5py.File) -> None:
    file.move(f"{SMILE}/normal", f"{SMILE}/position")
    file[f"{SMILE}/position"].attrs["unit"] = "mm"
    file.move(f"{SMILE}/displacement", f"{SMILE}/normal")
    file[f"{SMILE}/normal"].attrs.update({"unit": "1", "value_offset": [-1.0, -1.0, -1.0]})


MAP_DAMAGE: dict[str, tuple[Callable[[h5py.File], None], str, str]] = {
    "unit": (attribute(f"{SMILE}/displacement", "unit", "m"), f"{SMILE}/displacement", "expected 'mm'"),
    "no scale": (attribute(f"{SMILE}/normal", "value_scale", None), f"{SMILE}/normal", "value_scale"),
    "scale of nought": (attribute(f"{SMILE}/normal", "value_scale", 0.0), f"{SMILE}/normal", "above 0"),
    "offset": (
        attribute(f"{SMILE}/normal", "value_offset", np.zeros(1)), f"{SMILE}/normal", "expected 3 numbers",
    ),
    "no offsets": (drop(f"{SMILE}/displacement/offset"), f"{SMILE}/displacement", "missing"),
    "channels": (swapped, f"{SMILE}/normal row 0", "1 channels, expected 3"),
    "eight bits": (
        lambda file: file.copy(f"{SMILE}/texture", f"{SMILE}/position")
        or file[f"{SMILE}/position"].attrs.update(dict(file[f"{SMILE}/normal"].attrs) | {"unit": "mm"}),
        f"{SMILE}/position row 0",
        "16-bit",
    ),
}  # fmt: skip


def test_good_maps_have_no_finding(mapped: Path) -> None:
    assert verify(mapped, every_image=True) == []


@pytest.mark.parametrize("name", MAP_DAMAGE)
def test_a_broken_map_is_found(mapped: Path, tmp_path: Path, name: str) -> None:
    target = tmp_path / "copy.h5"
    target.write_bytes(mapped.read_bytes())
    damage, where, message = MAP_DAMAGE[name]
    with h5py.File(target, "r+") as file:
        damage(file)
    found = [f for f in verify(target) if f.level == "error"]
    assert any(f.where == where and message in f.message for f in found), found


def test_every_finding_has_the_name_of_a_check_and_a_remedy(copy: Path, repository: Path) -> None:
    page = (repository / "docs" / "release-format.md").read_text()
    for name, check in CHECKS.items():
        assert f"| `{name}` | {check.promise} | {check.todo} |\n" in page
    named = set()
    for change in BROKEN.values():
        broken = copy.with_name("broken.h5")
        broken.write_bytes(copy.read_bytes())
        with h5py.File(broken, "r+") as file:
            change[0](file)
        for finding in verify(broken, absent="S002"):
            assert finding.check in CHECKS and finding.todo, finding
            named.add(finding.check)
    assert named >= set(CHECKS) - {"file", "beside", "maps", "shards", "pages", "chunks"}
