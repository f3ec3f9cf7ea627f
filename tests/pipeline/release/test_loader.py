"""Frames for training, by numpy alone: what a default collate needs, and that every row comes once."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import sys
import threading
import time
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
from recipes import recipes

from mimicme.pipeline.errors import MissingDependencyError, UsageError
from mimicme.pipeline.items import Item
from mimicme.pipeline.release import Release, layout, loader
from mimicme.pipeline.release.loader import Frames, Stream
from mimicme.pipeline.release.writer import ReleaseWriter

EVERYTHING = (
    "vertices", "pose", "landmarks", "landmark_source", "landmark_confidence", "landmark_distance", "landmark_uv",
    "landmark_visible", "time_s", "frame", "texture", "coverage", "normal", "subject", "sequence", "expression",
    "gender", "ethnicity", "split", "age", "s2m_median",
)  # fmt: skip


@pytest.fixture(scope="module")
def path(fakes: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("loader")
    fakes.packed(folder / "release.h5", fakes.inputs(folder, maps=("normal",)))
    return folder / "release.h5"


def collated(samples: list[dict[str, Any]]) -> dict[str, np.ndarray]:
    """What a default collate does: it stacks arrays of one shape and type, and knows nothing else."""
    assert all(set(sample) == set(samples[0]) for sample in samples)
    batch = {}
    for name in samples[0]:
        arrays = [np.asarray(sample[name]) for sample in samples]
        assert {(a.shape, a.dtype) for a in arrays} == {(arrays[0].shape, arrays[0].dtype)}, name
        assert arrays[0].dtype.kind in "fiub", name  # of which there are tensors
        batch[name] = np.stack(arrays)
    return batch


def test_a_batch_of_every_field(fakes: ModuleType, path: Path) -> None:
    release = Release(path)
    data = release.as_arrays(np.arange(6), EVERYTHING)
    assert len(data) == 6
    batch = collated([data[k] for k in range(6)])
    assert set(batch) == {*EVERYTHING, "row", "texture_there", "coverage_there", "normal_there"}
    assert batch["vertices"].shape == (6, 49, 3) and np.isnan(batch["vertices"][2]).all()
    np.testing.assert_array_equal(batch["vertices"][3], fakes.registered(fakes.SMILE, 2, fakes.template()))
    assert batch["texture"].shape == (6, 32, 32, 3) and not batch["texture"][2].any()
    assert batch["texture_there"].tolist() == [True, True, False, True, True, True]
    assert np.isnan(batch["landmark_distance"]).all()  # the project stage made none
    assert batch["age"].tolist() == [31] * 4 + [44] * 2
    assert [data.names["gender"][k] for k in batch["gender"]] == ["female"] * 4 + ["male"] * 2
    assert [data.names["sequence"][k] for k in batch["sequence"]] == ["neutral"] + ["smile"] * 5
    assert data.names["split"] == ["unknown"]
    assert batch["s2m_median"][0] == 0.25
    assert batch["row"].tolist() == list(range(6))


def test_usable_rows_are_the_default_and_a_transform_makes_of_a_sample_what_it_likes(path: Path) -> None:
    release = Release(path)
    data = release.as_arrays(transform=lambda sample: (sample["vertices"].sum(), int(sample["row"])))
    assert len(data) == 5
    assert [row for _, row in (data[k] for k in range(5))] == [0, 1, 3, 4, 5]
    assert [row for _, row in data.__getitems__([4, 0, 2])] == [5, 0, 3]
    with pytest.raises(IndexError):
        data[5]
    assert [row for _, row in data] == [0, 1, 3, 4, 5]


def test_fields_that_are_none_are_named(path: Path) -> None:
    release = Release(path)
    for fields, said in ((("message",), "is text"), (("shape",), "no field 'shape'"), (("note",), "is text")):
        with pytest.raises(UsageError, match=said):
            release.as_arrays(fields=fields)
    with pytest.raises(UsageError, match="no such row"):
        release.as_arrays([0, 6])
    with pytest.raises(UsageError, match="no frame of these has a 'displacement'"):
        release.as_arrays(fields=("displacement",))[0]


def test_selection_by_what_is_known_of_people(path: Path) -> None:
    release = Release(path)
    assert release.select(age=(30, 40)).tolist() == [0, 1, 2, 3]
    assert release.select(age=(44, None), status="ok").tolist() == [4, 5]
    assert release.select(age=(None, 20)).tolist() == []
    assert release.select(gender="male").tolist() == release.select(ethnicity="asian").tolist() == [4, 5]
    assert len(release.select(split="train")) == 0 and len(release.select(split="unknown")) == 6
    assert release.select(landmarks="projected").tolist() == [0, 1, 3, 4, 5]
    assert release.select(landmarks="manual").tolist() == []
    with pytest.raises(UsageError, match="manual, detected, projected"):
        release.select(landmarks="none")
    assert release["S002", "smile"].rows == range(4, 6)
    assert release[np.int64(3)].number == 2


def numbers(stream: Stream, workers: int = 1) -> list[list[int]]:
    return [[int(sample["row"]) for sample in stream.samples(w, workers)] for w in range(workers)]


@pytest.fixture(scope="module")
def known_release(known: Any) -> Release:
    return Release(known.path)


def test_a_stream_gives_every_row_once_however_it_is_shared(known_release: Release) -> None:
    rows = known_release.select(status="ok")
    for workers in (1, 2, 5):
        stream = Stream(known_release, rows, ("age",), buffer=8)
        shares = numbers(stream, workers)
        assert sorted(sum(shares, [])) == rows.tolist()
        assert all(shares)
    parts = [Stream(known_release, rows, ("age",), part=(k, 3)) for k in range(3)]
    assert sorted(sum((sum(numbers(p, 2), []) for p in parts), [])) == rows.tolist()
    assert sum(map(len, parts)) == len(rows)


def test_workers_share_what_their_rank_has(known_release: Release) -> None:
    ranks = [Stream(known_release, fields=(), part=(at, 2), seed=3) for at in range(2)]
    for stream in ranks:
        assert sum(len(rows) for rows in numbers(stream, 3)) == len(stream)
    given = [row for stream in ranks for rows in numbers(stream, 3) for row in rows]
    assert sorted(given) == known_release.select(status="ok").tolist()


def test_the_order_of_a_stream_follows_from_seed_and_epoch(known_release: Release) -> None:
    rows = known_release.select(status="ok")
    first = numbers(Stream(known_release, rows, (), seed=1))
    assert (
        first
        == numbers(Stream(known_release, rows, (), seed=1))
        != numbers(Stream(known_release, rows, (), seed=2))
    )
    stream = Stream(known_release, rows, (), seed=1)
    stream.set_epoch(1)
    assert numbers(stream) != first
    assert numbers(Stream(known_release, rows, (), shuffle=False)) == [rows.tolist()]
    # not in the order of the file, sequence by sequence
    assert np.mean(np.abs(np.diff(first[0])) == 1) < 0.5
    with pytest.raises(UsageError, match="part"):
        Stream(known_release, rows, (), part=(2, 2))


def total(data: Frames) -> float:
    return float(sum(data[k]["vertices"].sum() for k in range(len(data))))


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_a_data_set_in_use_goes_to_workers(path: Path, method: str) -> None:
    data = Release(path).as_arrays()
    expected = total(data)
    assert total(pickle.loads(pickle.dumps(data))) == expected
    with multiprocessing.get_context(method).Pool(2) as pool:
        assert pool.map(total, [data] * 4) == [expected] * 4
    assert total(data) == expected


def test_threads_share_one_release(known_release: Release) -> None:
    """With few datasets open, so that they are opened and closed while others read."""
    release = Release(known_release.path, keep_open=2)
    rows = release.select(status="ok").tolist()
    expected = {row: known_release.vertices(row).sum() for row in rows}
    wrong: list[int] = []

    def read(seed: int) -> None:
        for row in np.random.default_rng(seed).permutation(rows).tolist():
            if release.vertices(row).sum() != expected[row]:
                wrong.append(row)

    threads = [threading.Thread(target=read, args=(k,)) for k in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == [] and len(expected) > 300


def test_a_child_of_fork_does_not_close_its_parents_file(path: Path) -> None:
    release = Release(path)
    expected = release.vertices(0).sum()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            status = int(release.vertices(0).sum() != expected)
            release.close()
        finally:
            os._exit(status)
    assert os.waitpid(child, 0)[1] == 0
    assert release.vertices(1).any() and release.vertices(0).sum() == expected


def test_datasets_stay_open(path: Path) -> None:
    release = Release(path)
    release.frame(1)
    opened = dict(release._access()._index._datasets)
    release.frame(3)
    assert dict(release._access()._index._datasets) == opened and len(opened) > 8
    assert all(release._access()._index._datasets[k] is v for k, v in opened.items())


def test_ten_thousand_sequences_are_listed_at_once(fakes: ModuleType, tmp_path: Path) -> None:
    """From the index, without a look at their groups."""
    texts = {"created": "", "licence": "", "config": "{}", "fingerprint": ""}
    with ReleaseWriter(tmp_path / "r.h5", **texts) as out:
        out.template(fakes.template())
    entries = [
        layout.IndexEntry(
            Item(f"S{k // 20:04d}", f"q{k % 20:02d}"), "pain", np.arange(3), ["ok"] * 3, f"Q {k}", 60.0
        )
        for k in range(10_000)
    ]
    import h5py

    with h5py.File(tmp_path / "r.h5", "r+") as file:
        for name in layout.INDEXES:
            del file[name]
        layout.write_indexes(file, entries, 4)
    release = Release(tmp_path / "r.h5")
    begin = time.process_time()
    found = release.sequences()
    assert time.process_time() - begin < 2
    assert len(found) == 10_000
    assert (found[-1].name, found[-1].fps, found[-1].rows) == ("Q 9999", 60, range(29_997, 30_000))
    assert len(release.sequences("S0001", "q0*")) == 10


def test_what_is_not_installed_is_a_sentence(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    release = Release(path)
    for package, use in (
        ("torch", lambda: release.as_torch()),
        ("pandas", lambda: release.to_dataframe()),
        ("trimesh", lambda: release.as_trimesh(0)),
        ("menpo.shape", lambda: release.as_menpo(0)),
    ):
        monkeypatch.setitem(sys.modules, package, None)
        with pytest.raises(MissingDependencyError, match="not installed"):
            use()


def test_no_column_of_a_table_is_written_over(
    fakes: ModuleType, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Table(dict[str, Any]):
        def infer_objects(self) -> Table:
            return self

    monkeypatch.setitem(sys.modules, "pandas", SimpleNamespace(DataFrame=Table))
    release = Release(path)
    said = {"fps": "slow", "subject_fps": "?", "reason": "paid", "quality_reason": "best", "message": 1}
    release.subjects = {subject: said for subject in release.subjects}
    table = release.to_dataframe(quality=True)
    assert table["subject_subject_fps"][0] == "?" and table["subject_fps"][0] == "slow"
    assert table["reason"][2] == "paid" and table["quality_reason"][2] == "best"
    assert table["quality_quality_reason"][2] == release.frame(2).reason


def test_menpo_gets_a_textured_mesh_with_groups(fakes: ModuleType, path: Path) -> None:
    release = Release(path)
    mesh = release.as_menpo(3)
    np.testing.assert_array_equal(mesh.points[:49], fakes.registered(fakes.SMILE, 2, fakes.template()))
    assert type(mesh).__name__ == "TexturedTriMesh"
    np.testing.assert_allclose(mesh.tcoords.points, release.template.uv, atol=1e-6)
    np.testing.assert_allclose(mesh.texture.pixels * 255, np.moveaxis(release.texture(3), 2, 0), atol=1e-4)
    assert set(mesh.landmarks) == {"landmarks", "chin", "nose", "eye", "brow"}
    np.testing.assert_allclose(mesh.landmarks["landmarks"].points, release.frame(3).landmarks, atol=1e-6)
    bare = release.as_menpo(2)  # rejected: no texture, no landmark
    assert type(bare).__name__ == "TriMesh" and len(bare.landmarks) == 0


def test_the_recipes_run(
    repository: Path, path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those that need no optional package; the others in `make test-interop`."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "release.h5").write_bytes(path.read_bytes())
    code = recipes(repository / "docs" / "loaders.md", optional=False)
    assert "as_arrays" in code and "as_menpo" in code and "torch" not in code
    known: dict[str, Any] = {}
    exec(compile(code, "docs/loaders.md", "exec"), known)
    assert len(known["rows"]) == 4 and len(known["batch"]) == 3


def test_tensors_are_asked_for_by_their_module_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """`as_torch` needs of PyTorch what this stand-in has."""

    class Torch:
        @staticmethod
        def as_tensor(array: np.ndarray) -> tuple[str, np.ndarray]:
            assert isinstance(array, np.ndarray)
            return "tensor", array

    monkeypatch.setattr(loader, "torch_module", lambda user: Torch)
    sample = loader.tensors({"row": np.int64(3), "vertices": np.zeros((4, 3), np.float32)})
    assert sample["row"][0] == "tensor" and sample["row"][1].shape == ()
