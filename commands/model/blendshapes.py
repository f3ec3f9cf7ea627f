"""Named blendshapes: one difference to the neutral per expression, out of what all subjects show at their apexes.

Li et al. 2010 and FaceWarehouse start from such a generic set; ARKit's names are what animation tools expect.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from mimicme.commands.model.symmetry import Mirror
from mimicme.pipeline.arrays import Floats
from mimicme.pipeline.captures.expressions import LABELS
from mimicme.pipeline.model_file import Blendshapes
from mimicme.pipeline.template import Template
from mimicme.pipeline.template.region_masks import region_masks, side_mask, upper_mask

# ARKit's blendshape location (Apple, ARFaceAnchor.BlendShapeLocation) -> label, region of it, side of it.
# Only those that a posed expression of MimicMe shows; left and right are the subject's, as in ARKit.
ARKIT: dict[str, tuple[str, str, str]] = {
    "eyeBlinkLeft": ("wink_left", "eyes", ""),
    "eyeBlinkRight": ("wink_right", "eyes", ""),
    "browInnerUp": ("surprise", "brows", ""),
    "browDownLeft": ("anger", "brows", "left"),
    "browDownRight": ("anger", "brows", "right"),
    "noseSneerLeft": ("disgust", "nose", "left"),
    "noseSneerRight": ("disgust", "nose", "right"),
    "cheekPuff": ("inflate_cheeks", "", ""),
    "jawOpen": ("surprise", "lower", ""),
    "mouthSmileLeft": ("happiness", "lower", "left"),
    "mouthSmileRight": ("happiness", "lower", "right"),
    "mouthFrownLeft": ("sadness", "lower", "left"),
    "mouthFrownRight": ("sadness", "lower", "right"),
    "mouthPucker": ("pout", "lower", ""),
    "mouthLeft": ("mouth_left", "lower", ""),
    "mouthRight": ("mouth_right", "lower", ""),
    "mouthRollLower": ("bite_lower_lip", "lower", ""),
    "mouthRollUpper": ("bite_upper_lip", "lower", ""),
    "tongueOut": ("tongue_out", "lower", ""),
}
_SIDES = (("_left", "_right"), ("_right", "_left"))
# a label of a lab's own may mean one side without saying so: not made symmetric when it is this far from it
_ONE_SIDED = 0.5


def robust_mean(deltas: Floats, rounds: int = 20) -> tuple[Floats, Floats]:
    """The geometric median of whole shapes, and the share each has in it.

    Weiszfeld's algorithm: shapes are weighted by the inverse of their distance, so that one subject who did
    something else, or whose registration failed, moves the result little.

    Args:
        deltas: (N, V, 3).

    Returns:
        (V, 3), and (N,) shares of sum one.
    """
    flat = np.asarray(deltas, np.float64).reshape(len(deltas), -1)
    gram = flat @ flat.T
    shares = np.full(len(flat), 1 / len(flat))
    for _ in range(rounds):
        # |d_i - sum s_j d_j|^2 out of inner products alone
        squared = np.diag(gram) - 2 * gram @ shares + shares @ gram @ shares
        distance = np.sqrt(np.maximum(squared, 0))
        new = 1 / np.maximum(distance, 1e-3 * max(float(distance.mean()), 1e-12))
        new /= new.sum()
        if np.abs(new - shares).max() < 1e-9:
            break
        shares = new
    return (shares @ flat).reshape(deltas.shape[1:]), shares


def mirrored_label(label: str) -> str:
    """`wink_left` for `wink_right`; a label without a side is its own."""
    for one, other in _SIDES:
        if label.endswith(one):
            return label[: -len(one)] + other
    return label


def named_blendshapes(
    deltas: Mapping[str, Sequence[tuple[str, Floats]]], mirror: Mirror | None
) -> tuple[Blendshapes, dict[str, dict[str, float]]]:
    """One shape per label.

    Args:
        deltas: by label, each subject's (id, (V, 3) apex minus neutral).
        mirror: shapes without a side are made symmetric, those with one lend themselves to the other side, each
            subject counting once per side; None: as they come.

    Returns:
        the shapes in order of label, and by label each subject's share in it.
    """
    names = sorted(set(deltas) | ({mirrored_label(n) for n in deltas} if mirror else set()))
    shapes, counts, shares = [], [], {}
    notes = {name: "mirrored" for name in names if name not in deltas}
    for name in names:
        given = list(deltas.get(name, ()))
        data = [d for _, d in given]
        other: Sequence[tuple[str, Floats]] = ()
        if mirror is not None and name not in LABELS and _is_one_sided(data, mirror):
            notes[name] = "one-sided"
        elif mirror is not None:
            other = deltas.get(mirrored_label(name), ())
        if mirror is not None and other:
            data += list(mirror.differences(np.stack([d for _, d in other])))
            given += list(other)
        mean, share = robust_mean(np.stack(data))
        shapes.append(mean)
        people: dict[str, float] = {}
        for (subject, _), part in zip(given, share.tolist(), strict=True):
            people[subject] = people.get(subject, 0.0) + part
        counts.append(len(people))
        shares[name] = people
    made = np.stack(shapes).astype(np.float32)
    return Blendshapes(tuple(names), made, np.array(counts, np.int32), notes), shares


def _is_one_sided(deltas: Sequence[Floats], mirror: Mirror) -> bool:
    if not deltas:
        return False
    mean = np.mean(np.stack(deltas), axis=0)
    apart = float(np.linalg.norm(mean - mirror.differences(mean[None])[0]))
    return apart > _ONE_SIDED * float(np.linalg.norm(mean))


def split_sides(shapes: Blendshapes, template: Template) -> Blendshapes:
    """Every shape without a side as `name_left` and `name_right`, the subject's, which add up to it."""
    left = side_mask(template)
    names, deltas, counts = [], [], []
    for k, name in enumerate(shapes.names):
        halves = ((f"{name}_left", left), (f"{name}_right", 1 - left))
        sided = mirrored_label(name) != name
        for part, mask in ((name, np.ones_like(left)),) if sided else halves:
            names.append(part)
            deltas.append(shapes.deltas[k] * mask[:, None].astype(np.float32))
            counts.append(shapes.counts[k])
    return Blendshapes(tuple(names), np.stack(deltas), np.array(counts, np.int32))


def arkit_blendshapes(shapes: Blendshapes, template: Template) -> Blendshapes:
    """The shapes that have a name in ARKit, cut out of ours: the table `ARKIT`.

    ARKit has 52 shapes; a set of posed expressions shows nineteen of them at most, and only those whose labels
    are there come out.
    """
    upper, left = upper_mask(template), side_mask(template)
    masks = region_masks(template)
    parts = {"": np.ones_like(left), "left": left, "right": 1 - left, "lower": 1 - upper}
    parts |= {
        "eyes": _near(masks, "eyes"),
        "brows": _near(masks, "brows", "forehead"),
        "nose": _near(masks, "nose"),
    }
    found = [(name, *where) for name, where in ARKIT.items() if where[0] in shapes.names]
    deltas = [
        shapes.delta(label) * (parts[region] * parts[side])[:, None].astype(np.float32)
        for _, label, region, side in found
    ]
    counts = [shapes.counts[shapes.names.index(label)] for _, label, _, _ in found]
    stacked = np.stack(deltas) if deltas else np.zeros((0, *shapes.deltas.shape[1:]), np.float32)
    return Blendshapes(tuple(f[0] for f in found), stacked, np.array(counts, np.int32))


def _near(masks: Mapping[str, Floats], *names: str) -> Floats:
    return np.clip(np.sum([masks[n] for n in names], axis=0), 0, 1)
