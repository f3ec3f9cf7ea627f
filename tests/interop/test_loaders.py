"""Releases in PyTorch's loaders, trimesh and pandas, and every recipe of docs/loaders.md."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from recipes import recipes

from mimicme.pipeline.release import Release, packing


@pytest.fixture(scope="module")
def path(fakes: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("loaders")
    fakes.packed(folder / "release.h5", fakes.inputs(folder, maps=("normal",)), vertices="int16")
    return folder / "release.h5"


@pytest.mark.parametrize("context", ["fork", "spawn"])
def test_a_shuffled_loader_gives_every_frame_once(path: Path, context: str) -> None:
    from torch.utils.data import DataLoader

    release = Release(path)
    release.vertices(0)  # it is open before the workers are made
    fields = ("vertices", "texture", "landmarks", "normal", "expression", "age", "pose", "landmark_visible")
    data = release.as_torch(fields=fields)
    loader = DataLoader(data, batch_size=2, shuffle=True, num_workers=2, multiprocessing_context=context)
    seen = []
    for batch in loader:
        assert batch["texture"].shape[1:] == (32, 32, 3) and str(batch["texture"].dtype) == "torch.uint8"
        for k, row in enumerate(batch["row"].tolist()):
            np.testing.assert_array_equal(batch["vertices"][k].numpy(), release.vertices(row))
            seen.append(row)
    assert sorted(seen) == [0, 1, 3, 4, 5]


@pytest.mark.parametrize("vertices", ["float32", "int32um", "int16"])
def test_frames_are_unpacked_quickly_to_what_hdf5_reads(
    fakes: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, vertices: str
) -> None:
    assert packing.unpacks_quickly()  # zlib-ng is one of the extra's
    fakes.packed(tmp_path / "release.h5", fakes.inputs(tmp_path), vertices=vertices)
    with Release(tmp_path / "release.h5") as release:
        rows = release.select(status="ok")
        monkeypatch.setattr(packing, "unpacked", lambda *_: None)
        by_hdf5 = [release.vertices(row) for row in rows.tolist()]
        monkeypatch.undo()
        used = []
        monkeypatch.setattr(
            packing, "unpacked", lambda *given, own=packing.unpacked: used.append(own(*given)) or used[-1]
        )
        for row, expected in zip(rows.tolist(), by_hdf5, strict=True):
            np.testing.assert_array_equal(release.vertices(row), expected)
        assert len(used) == len(rows) and all(one is not None for one in used)


@pytest.mark.parametrize("context", ["fork", "spawn"])
def test_a_stream_shares_itself_out_over_workers(path: Path, context: str) -> None:
    from torch.utils.data import DataLoader, IterableDataset

    stream = Release(path).as_torch(fields=("vertices",), stream=True, buffer=2)
    assert isinstance(stream, IterableDataset)
    for workers in (0, 2):
        made = {"multiprocessing_context": context} if workers else {}
        batches = list(DataLoader(stream, batch_size=2, num_workers=workers, **made))
        assert sorted(row for batch in batches for row in batch["row"].tolist()) == [0, 1, 3, 4, 5]


def test_trimesh_gets_the_mesh_with_its_texture(path: Path) -> None:
    release = Release(path)
    mesh = release.as_trimesh(3)
    np.testing.assert_allclose(mesh.vertices[:49], release.vertices(3))
    np.testing.assert_allclose(mesh.visual.uv, release.template.uv, atol=1e-6)
    np.testing.assert_array_equal(np.asarray(mesh.visual.material.image), release.texture(3))
    assert mesh.metadata["subject"] == "S001" and mesh.metadata["frame"] == 2


def test_a_table_has_a_row_a_frame(path: Path) -> None:
    release = Release(path)
    table = release.to_dataframe(quality=True)
    assert len(table) == 6 and table["age"].tolist() == [31] * 4 + [44] * 2
    assert table["reason"][2] == "large-residual" and table["s2m_median"][0] == 0.25
    assert (table["fps"] == 60).all() and table["site"].tolist() == ["Ulm"] * 4 + ["Bath"] * 2
    assert "s2m_median" not in release.to_dataframe()


def test_every_recipe_runs(
    repository: Path, path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "release.h5").write_bytes(path.read_bytes())
    page = repository / "docs" / "loaders.md"
    (tmp_path / "recipe.py").write_text(recipes(page, optional=True))
    spec = importlib.util.spec_from_file_location("recipe", tmp_path / "recipe.py")
    assert spec is not None and spec.loader is not None
    module: Any = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert module.shapes.shape[1:] == (49, 3) and len(module.table) == 6
