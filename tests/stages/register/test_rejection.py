"""rejection: a frame beyond a bound is rejected, and its rejection says what would let it pass."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from mimicme.pipeline.errors import FrameRejected
from mimicme.pipeline.geometry.mesh import Mesh, keep_triangles, transform
from mimicme.pipeline.landmarks import MIRROR
from mimicme.stages.register.expected_error import bare_excess, expected_error
from mimicme.stages.register.rejection import reject_bad


@pytest.mark.parametrize(("in_colours", "spread"), [(1.9, 1.0), (2.13, 1.0), (1.3, 0.7), (1.5, 0.7)])
def test_what_passes_in_colours_passes_without(dome, in_colours, spread):
    """What landmarks cost that were found without colours is no frame's own fault: none is rejected for being bare."""
    square = (in_colours / spread) ** 2 + bare_excess(1.0)
    bare = replace(dome.GOOD, expected_error=spread * np.sqrt(square), landmarks_found=1.0)
    limits = replace(dome.LIMITS, spread=spread)
    assert bare.expected_error > dome.LIMITS.max_expected_error_mm * spread
    if in_colours < dome.LIMITS.max_expected_error_mm * spread:
        reject_bad(bare, limits, 1000, False, 1.0)
        return
    with pytest.raises(FrameRejected) as raised:
        reject_bad(bare, limits, 1000, False, 1.0)
    assert f"an expected error of {in_colours:.1f} mm, without what landmarks cost" in raised.value.seen
    assert "max_expected_error_mm to 2.2." in raised.value.todo
    reject_bad(bare, replace(limits, max_expected_error_mm=2.2), 1000, False, 1.0)


def test_what_a_rejection_says_of_the_setting_lets_the_frame_pass(dome):
    """The bound is that of the embedded template; where another's vertices lie nearer to landmarks, it is less."""
    told = replace(dome.GOOD, expected_error=1.9)
    reject_bad(told, dome.LIMITS, 1000)
    with pytest.raises(FrameRejected, match="raise register.max_expected_error_mm to 2.8") as raised:
        reject_bad(told, replace(dome.LIMITS, spread=0.7), 1000)
    assert "at most 1.4 mm, which register.max_expected_error_mm = 2 is" in str(raised.value)
    reject_bad(told, replace(dome.LIMITS, spread=0.7, max_expected_error_mm=2.8), 1000)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"data_share": 0.19}, "register-no-overlap"),
        ({"data_share": np.nan}, "register-no-overlap"),
        ({"s2m_median": 1.01}, "register-misfit"),
        ({"s2m_median": np.nan}, "register-misfit"),
        ({"landmark_error": 6.1}, "register-landmarks"),
        ({"expected_error": 2.1}, "register-landmarks"),
        ({"flipped_triangles": 11.0}, "register-folded"),
        ({"flipped_triangles": 6.0, "degenerate_triangles": 5.0}, "register-folded"),
    ],
)
def test_a_bound_that_is_passed_rejects(dome, change, reason):
    with pytest.raises(FrameRejected) as caught:
        reject_bad(replace(dome.GOOD, **change), dome.LIMITS, 1000)
    assert caught.value.reason == reason
    assert caught.value.seen and caught.value.expected and caught.value.todo


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"data_share": 0.2, "s2m_median": 1.0, "landmark_error": 6.0, "flipped_triangles": 10.0},
        {"landmark_error": np.nan, "expected_error": np.nan},  # a scan without landmarks can be registered
        {"expected_error": 1.9, "landmarks_found": 1.0},
    ],
)
def test_a_frame_within_its_bounds_passes(dome, change):
    reject_bad(replace(dome.GOOD, **change), dome.LIMITS, 1000)


def scraps(dome):
    """A scan of which only the forehead is left."""
    frame = dome.frame()
    kept = frame.vertices[frame.faces][:, :, 1].mean(1) > 70
    mesh, _ = keep_triangles(Mesh(frame.vertices, frame.faces), kept)
    return replace(frame, vertices=mesh.vertices, faces=mesh.faces)


def inside_out(dome):
    frame = dome.frame()
    return replace(frame, faces=frame.faces[:, ::-1].copy())


def elsewhere(dome):
    """The pose is 300 mm off and there are no landmarks to tell."""
    frame = dome.frame()
    return replace(frame, vertices=frame.vertices + [0, 300, 0], confidence=np.zeros(68))


def crumpled(dome):
    """A scan so rough that no smooth surface comes near half of its points."""
    return dome.frame(noise_mm=3.0)


def scattered(dome):
    """Landmarks of no face at all."""
    return dome.frame(landmark_noise_mm=15.0)


def crossed(dome):
    """A landmark file with the eyes exchanged."""
    frame = dome.frame()
    order = np.arange(68)
    order[36:48] = MIRROR[36:48]
    return replace(frame, landmarks=frame.landmarks[order])


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (scraps, "register-no-overlap"),
        (inside_out, "register-no-overlap"),
        (elsewhere, "register-no-overlap"),
        (crumpled, "register-misfit"),
        (scattered, "register-landmarks"),
        (crossed, "register-landmarks"),
    ],
)
def test_a_bad_frame_is_named(dome, bad, reason):
    tracker = dome.tracker()
    with pytest.raises(FrameRejected) as caught:
        tracker.register(bad(dome))
    assert caught.value.reason == reason
    assert tracker.neutral is None
    # and the next frame is none the worse for it
    good = tracker.register(dome.frame(1))
    assert dome.apart(transform(good.pose, good.vertices), dome.truth(0)).mean() < 0.2


def test_half_a_face_is_rejected_and_the_missing_half_named(dome):
    for side, share in (("right", {"core_share_right": 0.1}), ("left", {"core_share_left": 0.1})):
        with pytest.raises(FrameRejected) as caught:
            reject_bad(replace(dome.GOOD, **share), dome.LIMITS, 1000)
        assert caught.value.reason == "register-half"
        assert f"the {side} half" in str(caught.value) and "10%" in str(caught.value)
    reject_bad(replace(dome.GOOD, core_share_left=0.25), dome.LIMITS, 1000)


@pytest.mark.parametrize("side", ["right", "left"])
def test_a_neutral_needs_more_of_both_halves_than_a_frame_that_has_one(dome, side):
    aside = replace(dome.GOOD, **{f"core_share_{side}": 0.3})
    reject_bad(aside, dome.LIMITS, 1000)
    with pytest.raises(FrameRejected) as caught:
        reject_bad(aside, dome.LIMITS, 1000, first=True)
    assert caught.value.reason == "register-half"
    for said in (
        f"the {side} half",
        "30%",
        "40%",
        "min_neutral_half_share = 0.3 under [register] in mimicme.toml",
    ):
        assert said in str(caught.value)
    # each bound is lowered by its own setting, and the larger holds
    reject_bad(aside, replace(dome.LIMITS, min_neutral_half_share=0.3), 1000, first=True)
    assert "min_half_share" not in str(caught.value)  # to lower it would be of no use
    with pytest.raises(FrameRejected, match=r"50%.*write min_half_share = 0\.45 under"):
        reject_bad(
            replace(dome.GOOD, core_share_left=0.45),
            replace(dome.LIMITS, min_half_share=0.5),
            1000,
            first=True,
        )


def test_a_neutral_that_fails_both_bounds_of_a_half_names_both(dome):
    """Else whoever lowers one, and registers everybody again, meets the other."""
    little = replace(dome.GOOD, core_share_left=0.096)
    with pytest.raises(FrameRejected) as caught:
        reject_bad(little, dome.LIMITS, 1000, first=True)
    for said in ("10%", "min_half_share = 0.09 and min_neutral_half_share = 0.09 under [register]"):
        assert said in str(caught.value)
    # what it says to write brings the frame back
    reject_bad(
        little, replace(dome.LIMITS, min_half_share=0.09, min_neutral_half_share=0.09), 1000, first=True
    )


@pytest.mark.parametrize("share", [0.0, 0.004])
def test_where_nothing_of_a_half_is_scanned_no_setting_is_advised(dome, share):
    for first in (False, True):
        with pytest.raises(FrameRejected) as caught:
            reject_bad(replace(dome.GOOD, core_share_left=share), dome.LIMITS, 1000, first=first)
        assert caught.value.reason == "register-half" and "no setting adds it" in str(caught.value)
        assert "half_share" not in str(caught.value)


@pytest.mark.parametrize(("found_share", "spread"), [(1.0, 1.0), (0.8, 0.7)])
def test_a_scream_is_not_rejected_because_it_stretches_the_face(dome, found_share, spread):
    """What passes by the stretching of its person's neutral passes, if found; that neutral itself has nobody else's."""
    limits = replace(dome.LIMITS, spread=spread)

    def scream(held_out_mm):
        expected = expected_error(5.0, held_out_mm, found_share, 0.75, spread)
        return replace(dome.GOOD, expected_error=expected, landmarks_found=found_share, stretch_core=0.75)

    with pytest.raises(FrameRejected):
        reject_bad(scream(1.0), limits, 1000)
    reject_bad(scream(1.0), limits, 1000, neutral_stretch=0.15)
    with pytest.raises(FrameRejected):
        reject_bad(replace(scream(1.0), landmarks_found=0.0), limits, 1000, neutral_stretch=0.15)
    with pytest.raises(FrameRejected, match="no more stretching than the subject's neutral has") as raised:
        reject_bad(scream(5.0), limits, 1000, neutral_stretch=0.15)
    own = expected_error(5.0, 5.0, found_share, 0.15)
    assert f"an expected error of {own * spread:.1f} mm, " in raised.value.seen
    passes = np.ceil(10 * own) / 10
    assert f"max_expected_error_mm to {passes:g}." in raised.value.todo
    reject_bad(scream(5.0), replace(limits, max_expected_error_mm=passes), 1000, neutral_stretch=0.15)


@pytest.mark.parametrize(("share", "said"), [(1.0, "which were found"), (0.0, "landmark file")])
def test_what_to_do_of_uncertain_landmarks_goes_by_where_they_are_from(dome, share, said):
    """Of found ones there is no file to check."""
    uncertain = replace(
        dome.GOOD, expected_error=dome.LIMITS.max_expected_error_mm + 1, landmarks_found=share
    )
    with pytest.raises(FrameRejected) as raised:
        reject_bad(uncertain, dome.LIMITS, 9)
    assert said in raised.value.todo
