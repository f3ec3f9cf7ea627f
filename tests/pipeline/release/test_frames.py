"""release frames, regions and the model file: on a release whose truth is known."""

from __future__ import annotations

from dataclasses import replace

import h5py
import numpy as np
import pytest
from numpy.lib.recfunctions import append_fields

from mimicme.pipeline.errors import CheckpointError, UsageError
from mimicme.pipeline.geometry.mesh import vertex_areas
from mimicme.pipeline.items import Item
from mimicme.pipeline.model_file import (
    Blendshapes,
    FaceModel,
    TextureModel,
    is_model,
    pruned_table,
    read_model,
    subject_table,
    write_model,
)
from mimicme.pipeline.numerics.linear_model import fit_pca
from mimicme.pipeline.release import Release
from mimicme.pipeline.release.frames import ReleaseFrames, apexes, balance_weights
from mimicme.pipeline.template.region_masks import region_mask, region_masks, side_mask, upper_mask


@pytest.fixture
def frames(known):
    with ReleaseFrames([known.path]) as opened:
        yield opened


def test_rejected_frames_are_left_out_and_the_order_is_by_subject(frames, known):
    total = sum(len(a) for a in known.amounts.values())
    assert len(frames) == total - len(known.rejected)
    assert frames.subjects == sorted(known.identity_coefs)
    lost = {(i.subject, i.sequence, row) for i, row in known.rejected}
    assert not lost & {(str(r["subject"]), str(r["sequence"]), int(r["frame"])) for r in frames.table}


def test_batches_hold_the_differences_to_the_own_neutral(frames, known, monkeypatch):
    monkeypatch.setattr(ReleaseFrames, "batch_frames", 7)
    rows = frames.expressive
    batches = list(frames.batches(rows, difference=True))
    assert [len(b) for b in batches[:-1]] == [7] * (len(batches) - 1)
    data = np.concatenate(batches)
    entry = frames.table[rows[40]]
    item = Item(str(entry["subject"]), str(entry["sequence"]))
    truth = np.tensordot(known.expression_coefs[item][int(entry["frame"])], known.expression_basis, 1)
    assert np.abs(data[40] - truth).max() <= 2 * known.noise_mm + 1e-3
    np.testing.assert_array_equal(
        np.concatenate(list(frames.batches(rows, difference=True, skip=3))), data[21:]
    )


def test_a_neutral_without_a_label_is_the_median_of_first_frames(known, tmp_path):
    def no_neutral(table):
        return table["expression"] == "neutral"

    with ReleaseFrames([known.path], no_neutral) as frames:
        found = frames.neutral("S003")
        clean = known.clean(Item("S003", "neutral"))[0]
    assert found.source == "first"
    assert len(found.rows) == 6
    # the median of six frames of noise is nearer than one of them
    assert np.abs(found.vertices - clean).mean() < 0.7 * known.noise_mm / 2


def test_a_neutral_without_a_label_is_the_median_of_the_calmest_frames(known, monkeypatch):
    """Where the release has the figure: here frame 2 of every sequence seems calm, and in one sequence calmest."""
    values = Release.values

    def with_costs(self, item, name):
        found = values(self, item, name)
        if name != "quality":
            return found
        cost = np.where(np.arange(len(found)) == 2, 2.0, 9.0) - (item.sequence == "happiness") * 0.1
        return append_fields(found, "neutral_cost", cost, usemask=False)

    monkeypatch.setattr(Release, "values", with_costs)
    with ReleaseFrames([known.path], lambda table: table["expression"] == "neutral") as frames:
        found = frames.neutral("S003")
    assert found.source == "calmest"
    assert set(frames.table["frame"][found.rows].tolist()) == {2}
    assert len(found.rows) == min(9, len(set(frames.table["sequence"][found.rows].tolist())))


def test_apexes_are_the_frames_furthest_from_neutral(frames, known):
    rows = frames.expressive
    table = frames.table[rows]
    amounts = frames.amounts(vertex_areas(frames.template.vertices, frames.template.faces), rows)
    found = apexes(table, amounts)
    assert len(found) == 14 * 6
    assert all(table["frame"][picked].tolist() == [2] for picked in found.values())


def test_balance(frames):
    table = frames.table
    equal = balance_weights(table, "subjects")
    assert equal.mean() == pytest.approx(1)
    sums = [equal[table["subject"] == s].sum() for s in frames.subjects]
    np.testing.assert_allclose(sums, sums[0])
    kinds = balance_weights(table, "expressions")
    some = table["subject"] == "S001"
    per_label = [kinds[some & (table["expression"] == e)].sum() for e in np.unique(table["expression"][some])]
    np.testing.assert_allclose(per_label, per_label[0])
    assert len(set(table["expression"][some])) == 7
    np.testing.assert_array_equal(balance_weights(table, "frames"), 1)


def test_releases_of_two_templates_are_refused(known, known_module, tmp_path):
    other = known_module.write_known_release(tmp_path / "b.h5", subjects=2, columns=12, texture=False)
    with pytest.raises(UsageError, match="share one template"):
        ReleaseFrames([known.path, other.path])
    with pytest.raises(UsageError, match="no usable frame"):
        ReleaseFrames([known.path], lambda table: np.ones(len(table), bool))


def test_regions_lie_where_their_names_say(known):
    masks = region_masks(known.template)
    x, y = known.template.vertices[:, 0], known.template.vertices[:, 1]
    centre = {n: (m @ x / m.sum(), m @ y / m.sum()) for n, m in masks.items()}
    assert centre["left"][0] > 15 and centre["right"][0] < -15
    assert (
        centre["forehead"][1]
        > centre["brows"][1]
        > centre["eyes"][1]
        > centre["nose"][1]
        > centre["mouth"][1]
    )
    parts = ("jaw", "brows", "nose", "eyes", "mouth", "cheeks", "forehead")
    np.testing.assert_allclose(sum(masks[n] for n in parts), masks["face"], atol=1e-9)
    side = side_mask(known.template)
    assert side[x > 20].min() == 1 and side[x < -20].max() == 0
    upper = upper_mask(known.template)
    assert upper[y > 40].min() == 1 and upper[y < -10].max() == 0
    with pytest.raises(UsageError, match="no region 'ear'"):
        region_mask(known.template, "ear")


def test_a_templates_own_mask_goes_first(known):
    own = np.zeros(len(known.template.vertices))
    own[5] = 1
    template = replace(known.template, masks={"nose": own})
    np.testing.assert_array_equal(region_mask(template, "nose"), own)


NOTES = {"pout": "mirrored"}


def face_model(known) -> FaceModel:
    rng = np.random.default_rng(0)
    n = len(known.template.vertices)
    linear = fit_pca(rng.standard_normal((6, n, 3)), rank=3, kind="identity")
    texture = TextureModel(fit_pca(rng.uniform(0, 255, (5, 20, 3)), rank=2), np.arange(20), 8, 8)
    shapes = Blendshapes(("smile", "pout"), np.ones((2, n, 3), np.float32), np.array([2, 3], np.int32), NOTES)
    return FaceModel(
        known.template,
        {"identity": linear, "identity:gender=female": linear.truncated(2)},
        shapes,
        None,
        texture,
        subject_table([("S001", "yes", "train", "neutral", 12), ("Zoë", "yes", "", "first", 3)]),
        pruned_table([("S001", "smile", "happiness", 4, 3.25)]),
        {"rank": 3},
        ("abc",),
        "CC0",
        "2024-01-01T00:00:00Z",
    )


def test_a_model_file_gives_back_what_was_written_and_the_same_bytes(known, tmp_path):
    model = face_model(known)
    first, second = tmp_path / "a.h5", tmp_path / "b.h5"
    write_model(first, model)
    back = read_model(first)
    np.testing.assert_array_equal(back.models["identity"].components, model.models["identity"].components)
    assert back.models["identity:gender=female"].rank == 2
    assert back.blendshapes is not None and back.blendshapes.names == ("smile", "pout")
    assert back.blendshapes.notes == NOTES
    assert back.subjects["subject"].tolist() == ["S001", "Zoë"]
    assert back.pruned["norm"].tolist() == [3.25]
    assert back.texture is not None and back.texture.image(back.texture.model.mean).shape == (8, 8, 3)
    assert (back.licence, back.releases, back.settings) == ("CC0", ("abc",), {"rank": 3})
    write_model(second, back)
    assert first.read_bytes() == second.read_bytes()
    assert is_model(first) and not is_model(known.path)


def test_damaged_and_foreign_model_files_are_refused(known, tmp_path):
    path = tmp_path / "m.h5"
    write_model(path, face_model(known))
    with h5py.File(path, "a") as handle:
        del handle["models/identity/mean"]
        handle["models/identity/mean"] = np.zeros((4, 3), "f4")
    with pytest.raises(CheckpointError, match="damaged"):
        read_model(path)
    with h5py.File(path, "a") as handle:
        del handle["blendshapes"]
        handle["blendshapes"] = h5py.ExternalLink("/etc/passwd", "/")
    with pytest.raises(CheckpointError, match="points outside"):
        read_model(path)
    with pytest.raises(CheckpointError, match="not a model file"):
        read_model(known.path)
