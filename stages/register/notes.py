"""What a user should know about a frame that is registered: bounds of its figures, codes and sentences."""

from __future__ import annotations

from mimicme.stages.register.quality import Quality, less_seen

MUCH_LIGHT_MM2 = 8.0
"""Light between the lips from which on it is noted; a closed mouth has less than 3."""
WELL_SEEN = 0.6
"""Share of a half of the face's core below which it is noted."""
PART_SEEN = 0.5
"""Share of the lids of an eye, of the nose or of the lips below which it is noted: 14 frames of `mimicme synth` have at
least 0.88, and at most 0.10 of a part that was cut out; 40 of two other makers, with closed eyes and open mouths, at
least 0.88."""
LIPS_SEEN = 0.8
"""The same of the lips.  Drawn across a mouth that is wide open, some of them lie on nothing: those of a scream of
another maker, whose lower lip was found amid its mouth, 4.7 mm off in the mean, had 0.57; 302 other frames of three
makers, given and found, have at least 0.94."""
MUCH_COVERED = 0.05
"""Share of the template under hair, a beard, a cap or clothes from which on it is noted."""
MISPLACED_RELIEF, ASKEW_MM, ASKEW_RELIEF = 0.62, 5.2, 0.81
SHUT_LIDS_MM, FOLDED_LIDS, DRAPED_MM = 1.6, 0.012, 3.4
"""Bounds of what is noted: twice what the worst of 260 frames of 20 people of `synth` has (0.19 less than 1; 2.6 mm,
where nobody pulled the mouth aside; 0.78 mm; 0.6 %; 1.7 mm, of ears compared with the template's: compared with the
person's own 494 frames of three makers have at most 2.3, ears that lean back by 15 mm 5.1 and more).  `ASKEW_RELIEF` is
the worst frame's own: a person may pull the mouth aside, and then the lips of scan and mesh agree."""
EAR_OFF_MM, EAR_OFF_SCALES = 0.4, 4.0
"""Of a scan's distance at an ear that is noted: more than the first, and than so many times its median all over the
face, as noise has it everywhere.  Ears in place have at most 0.07 mm on 14 frames of two people of `mimicme synth`,
and 0.25 on 50 of six people of two makers, who judge; the ear of a scream that the jaw had taken along had 0.52, ears
of a real scan that hair covers, as smooth as they are, 1.1 and 1.3."""
OPEN_LIDS_MM = 1.6
"""Of lids that are noted to be open though their landmarks are shut: as of the others.  35 shut eyes of three
makers, given and found, have at most 0.25; two over whose shut landmarks the mesh stayed open 2.6 and 3.6."""
SLID_MM = 3.8
"""Of a cheek that is noted.  539 frames of 45 people of three makers, none of them slid, have at most 2.8 (wide open
mouths; neutrals, which are compared with the template); the same with a cheek slid by 9 mm 4.7 and more."""
OTHER_BONE_MM = 1.6
"""Of bone that is noted not to be the subject's: a third more than the largest of anybody's own, for a false note
costs a look, and a stranger's frame that nobody sees a sequence. Three people of `mimicme synth` have at most 0.6 of
themselves, with surprise and happiness, and 15 pairs of six neutrals 3.0 and more of each other. 24 frames of another
maker, at which region and measure were chosen too, have at most 1.2, but for one whose fit is 3 mm off, and whose head
is 4 mm off: 3.6 to 4.9. Of 56 pairs of 16 people of a third, who judge, five have less than the bound, 1.4 to 1.5: who
is much alike is not told apart."""
ASTRAY = frozenset({
    "another-face", "cheek-slid", "half-seen", "lids-folded", "lids-open", "lids-shut", "lips-apart", "mouth-askew",
    "mouth-misplaced", "part-missing",
})  # fmt: skip
"""Codes of `notes` by which a face has not just slid along its surface, but may lie where it does not belong."""


def notes(quality: Quality, first: bool = False) -> list[tuple[str, str]]:
    """What a user should know about a frame that is registered: codes and sentences.

    Args:
        first: the frame is its subject's neutral, which had no neutral to begin from.
    """
    found = []
    begun_from = "the template" if first else "the subject's neutral"
    if quality.mouth_light > max(MUCH_LIGHT_MM2, quality.mouth_opening / 2):
        found.append(
            (
                "lips-apart",
                f"Between the lips {quality.mouth_light:.0f} mm2 of the mesh are open where the scan has a surface "
                "as far out as lips: skin, or a tongue that is out.",
            )
        )
    if quality.covered_share > MUCH_COVERED:
        found.append(
            (
                "skin-covered",
                f"On {quality.covered_share:.0%} of the mesh the scan shows hair, a beard, a cap or clothes: the mesh "
                "goes on smoothly below them.",
            )
        )
    found += _implausible(quality)
    share, side = less_seen(quality)
    if share < WELL_SEEN:
        found.append(
            (
                "half-seen",
                f"The scan shows {share:.0%} of the {side} half of the face (the subject's own {side}); the rest of "
                f"it is guessed from what lies around it and {begun_from}.",
            )
        )
    missing = parts_missing(quality)
    if missing:
        shares = " and ".join(f"{100 * seen:.0f}% of the {part}" for part, seen in missing.items())
        found.append(
            (
                "part-missing",
                f"The scan shows only {shares}: what the mesh has there is guessed from what lies around it, the "
                f"landmarks and {begun_from}"
                + (", or its lips lie across an open mouth." if "lips" in missing else "."),
            )
        )
    return found


def parts_missing(quality: Quality) -> dict[str, float]:
    """Parts of the face that the scan lacks, in words, and the share of each that it shows.

    An eye of a half that is hardly seen is no news beside that half.
    """
    shares = {
        "right eye's lids": (quality.eye_share_right, PART_SEEN, quality.core_share_right),
        "left eye's lids": (quality.eye_share_left, PART_SEEN, quality.core_share_left),
        "nose": (quality.nose_share, PART_SEEN, 1.0),
        "lips": (quality.mouth_share, LIPS_SEEN, 1.0),
    }
    return {part: seen for part, (seen, least, half) in shares.items() if seen < least and half >= WELL_SEEN}


def _implausible(quality: Quality) -> list[tuple[str, str]]:
    """What a person would see at a glance; a figure that is not known says nothing."""
    askew = quality.mouth_asymmetry > ASKEW_MM and quality.mouth_relief < ASKEW_RELIEF
    still_open = [
        f"The mesh's lids of the {side} eye are {gap:.1f} mm apart"
        for side, gap in (("right", quality.lids_open_right), ("left", quality.lids_open_left))
        if gap > OPEN_LIDS_MM
    ]
    said = (
        (
            "mouth-misplaced",
            quality.mouth_relief < MISPLACED_RELIEF,
            "Where the mesh has its lips the scan hardly has any: the relief of both correlates at "
            f"{quality.mouth_relief:.2f}.",
        ),
        (
            "mouth-askew",
            askew,
            f"The mesh's mouth is {quality.mouth_asymmetry:.1f} mm askew, and the scan's lips lie elsewhere.",
        ),
        (
            "lids-shut",
            quality.lids_shut > SHUT_LIDS_MM,
            f"The mesh's lids are {quality.lids_shut:.1f} mm less far open than the landmarks say.",
        ),
        (
            "lids-open",
            bool(still_open),
            "; ".join(still_open) + ", where the landmarks say that they are shut.",
        ),
        (
            "lids-folded",
            quality.lids_folded > FOLDED_LIDS,
            f"About the eyes {quality.lids_folded:.1%} of the mesh's triangles are folded.",
        ),
        (
            "ear-draped",
            quality.ear_drape > DRAPED_MM,
            f"An ear of the mesh is {quality.ear_drape:.1f} mm out of shape: it lies on hair, or where the scan ends.",
        ),
        (
            "ear-beside",
            quality.ear_distance > max(EAR_OFF_MM, EAR_OFF_SCALES * quality.s2m_median),
            f"An ear of the mesh lies {quality.ear_distance:.1f} mm off the scan in the median: beside the scan's own, "
            "or where hair covers that or the scan ends.",
        ),
        (
            "cheek-slid",
            quality.cheek_slide > SLID_MM,
            f"A cheek lies {quality.cheek_slide:.1f} mm along the surface from where the landmarks carry it.",
        ),
        (
            "another-face",
            quality.bone_apart > OTHER_BONE_MM,
            f"The bone about the eyes lies {quality.bone_apart:.1f} mm from that of the subject's neutral: is it "
            "somebody else, or has the fit gone astray?",
        ),
    )
    return [(code, sentence) for code, holds, sentence in said if holds]
