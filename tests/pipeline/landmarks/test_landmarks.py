"""The scheme: names, mirror table, and what menpo3d's own files mean by their words."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mimicme.pipeline.errors import FrameRejected
from mimicme.pipeline.geometry.mesh import transform
from mimicme.pipeline.geometry.rigid import fit_rigid, fit_similarity_scale
from mimicme.pipeline.landmarks import ALIASES, GROUPS, IBUG68, MIRROR, eye_distance, indices_of, mirrored
from mimicme.pipeline.landmarks.files import read_landmarks


def menpo3d_points(name):
    data = Path(pytest.importorskip("menpo3d").__file__).parent / "data" / name
    return read_landmarks(data.read_bytes(), name).points


def residuals(source, target, part):
    """Distances (68,) after the similarity that fits `part`, scaled to 63 mm between the eyes of `target`."""
    scale = fit_similarity_scale(source[part], target[part])
    motion = fit_rigid(scale * source[part], target[part])
    return np.linalg.norm(transform(motion, scale * source) - target, axis=1) * 63 / eye_distance(target)


def test_names_are_68_and_belong_to_their_groups():
    assert len(set(IBUG68)) == 68
    for group, part in GROUPS.items():
        assert all(name.startswith(group) for name in IBUG68[part])
    assert np.concatenate([np.r_[part] for part in GROUPS.values()]).tolist() == list(range(68))


def test_mirror_is_its_own_inverse_and_exchanges_the_sides():
    assert (MIRROR[MIRROR] == np.arange(68)).all()
    for a, b in (("left_eye", "right_eye"), ("left_eyebrow", "right_eyebrow")):
        assert sorted(MIRROR[GROUPS[a]]) == list(range(GROUPS[b].start, GROUPS[b].stop))
    for group in ("jaw", "nose", "mouth"):
        assert sorted(MIRROR[GROUPS[group]]) == list(range(GROUPS[group].start, GROUPS[group].stop))
    assert np.flatnonzero(np.arange(68) == MIRROR).tolist() == [8, 27, 28, 29, 30, 33, 51, 57, 62, 66]


def test_mirror_maps_a_face_onto_its_reflection():
    template = menpo3d_points("template.ljson") / 1000
    reflected = template * [-1, 1, 1]
    # drawn by hand: some jaw points are 10 mm from their partner's reflection
    assert np.linalg.norm(mirrored(template) - reflected, axis=1).max() < 12
    assert np.linalg.norm(template - reflected, axis=1).max() > 60


@pytest.mark.parametrize("name", ["james.ljson", "template.ljson"])
def test_left_in_files_is_the_image_left(name):
    points = menpo3d_points(name)
    points = (points - points[27]) * 63 / eye_distance(points)
    for group in ("left_eye", "left_eyebrow"):
        assert (points[GROUPS[group], 0] < 0).all()
    assert points[GROUPS["right_eye"], 0].min() > points[GROUPS["left_eye"], 0].max() + 20
    assert points[GROUPS["right_eyebrow"], 0].min() > points[GROUPS["left_eyebrow"], 0].max()
    assert points[0, 0] < 0 < points[16, 0]
    for brow, eye in (("left_eyebrow", "left_eye"), ("right_eyebrow", "right_eye")):
        assert points[GROUPS[brow], 1].min() > points[GROUPS[eye], 1].max()


def test_the_two_files_hold_the_same_points_in_the_same_order():
    james, template = menpo3d_points("james.ljson"), menpo3d_points("template.ljson")
    r = residuals(james, template, slice(17, 68))
    for group in ("left_eye", "right_eye", "mouth"):
        assert 0.5 < r[GROUPS[group]].mean() < 4  # two persons: not zero either
    assert r[17:].mean() < 6
    assert r[:17].mean() < 20
    for part in GROUPS.values():  # the other way round, any group would be far off
        order = np.arange(68)
        order[part] = order[part][::-1]
        assert residuals(james[order], template, slice(0, 68))[part].mean() > 2 * r[part].mean()
    assert residuals(mirrored(james), template, slice(17, 68))[17:].mean() > 2 * r[17:].mean()


def test_by_bare_place_the_two_files_disagree():
    import json

    def raw(name):
        data = Path(pytest.importorskip("menpo3d").__file__).parent / "data" / name
        return np.array(json.loads(data.read_text())["groups"]["LJSON"]["landmarks"]["points"], float)

    assert residuals(raw("james.ljson"), raw("template.ljson"), slice(17, 68))[17:].mean() > 15


def test_labels_are_known_in_any_case_and_spelling():
    assert indices_of("Left Eye", 6) == tuple(range(36, 42)) == indices_of("leye", 6)
    assert indices_of("chin", 17) == tuple(range(17))
    assert indices_of("Right-Eyebrow", 5) == tuple(range(22, 27))
    assert indices_of("jaw_08", 1) == (8,)
    assert indices_of("inner_mouth", 8) == tuple(range(60, 68))
    assert all(max(found) < 68 for found in ALIASES.values())


def test_sides_of_the_subject_move_plain_words_and_nothing_else():
    assert indices_of("leye", 6, "subject") == tuple(range(42, 48))
    assert indices_of("left_eyebrow", 5, "subject") == tuple(range(22, 27))
    assert indices_of("mouth_left", 1, "subject") == indices_of("mouth_right", 1, "image")
    assert indices_of("left_eye_0", 1, "subject") == (36,)  # a canonical name
    assert indices_of("exR", 1, "subject") == indices_of("ex_r", 1, "image") == (36,)
    assert indices_of("lips", 20, "subject") == tuple(range(48, 68))


@pytest.mark.parametrize(("label", "count"), [("elbow", 3), ("left_eye", 8), ("jaw", 15), ("", 1)])
def test_unknown_labels_and_counts_are_refused(label, count):
    with pytest.raises(FrameRejected) as caught:
        indices_of(label, count)
    assert caught.value.reason == "landmark-scheme"
    assert caught.value.seen is not None
    assert caught.value.expected is not None
