"""Whether a baked texture shows a face: its contrast, how much of what should be skin has the colour of skin, and how
sharp it is.

Hair, a hand or a scarf before the face is scanned like skin, and registered like skin: the surface fits, the colour
does not.  Skin is what the middle of the face has for a colour, whatever that is; eyes, brows and lips are left out.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mimicme.pipeline.arrays import Bools, Floats
from mimicme.pipeline.formats.image import Pixels, opencv
from mimicme.pipeline.geometry.mesh import vertex_areas
from mimicme.pipeline.landmarks import GROUPS, IBUG68
from mimicme.pipeline.template import Template
from mimicme.pipeline.template.cover import CoverRegions
from mimicme.pipeline.template.face_core import FaceCore
from mimicme.pipeline.texture.skin_seen import is_skin

OTHER_MM = {"right_eyebrow": 7.0, "left_eyebrow": 7.0, "right_eye": 6.0, "left_eye": 6.0, "mouth": 6.0}
"""So near to these landmarks the face need not have the colour of skin."""
NOSTRILS, NOSTRILS_MM = slice(31, 36), 5.0
ABOUT_EYES_MM = 34.0
"""How far from the middle of an eye the face is about the eyes: rims of glasses lie 12 to 32 mm from it, and are less
than a tenth of the face."""
BRIGHTNESS, CHROMA = 0.6, 0.06
"""A colour is skin's when its brightness differs from the median by no more than this, in the natural logarithm, and
its shares of red and green by no more than that."""
DARKEST = 8.0
"""Added to brightness before its logarithm is taken, of 255."""
LOW, HIGH = 5, 95
MIN_VERTICES = 50
"""Of fewer that the scan shows nothing is said."""
BEARD = 0.2
"""Share of where a beard grows that was told from skin, from which on it is a beard."""
EMPTY_CONTRAST, LITTLE_SKIN = 0.05, 0.9
"""Bounds of what is noted.  Half the least contrast of 260 frames of 20 people of `synth`, 0.10; all of these have the
colour of skin on 99 % of it or more, and a tenth is left for stubble and shadow.  About the eyes 60 frames of `synth`
and four of two real people have 98 % or more; with rims of 4 to 5 mm painted and raised, 58 %."""

BAND_TEXELS, INSIDE_TEXELS = 1.5, 6
"""Of a texture of 1024 texels: sharpness is looked for in details of about twice the first, 1 mm, and so far from where
the scan shows nothing.  Noise of an image is finer and mostly smoothed away; what is left of much of it looks like
detail.  Made-up skin that is blurred by 3 texels has 0.24 of its sharpness, 0.26 with noise of 1 level of 255 on every
texel, 0.50 with 4 and 0.71 with 6: that is above `BLURRED`, and blur in images as noisy as that is not noted."""
BLURRED = 0.65
"""Sharpness, as a share of the subject's other frames', below which a texture is noted.  A head that moves blurs in one
direction: of detail that is alike in all of them the Laplacian's root mean square is then 0.61 (the root of 3/8) at
most; out of focus it is less.  Of two other makers, who judge, twelve frames of three people lie within 0.97 and 1.16
of their median; with images blurred by 2 px they have 0.25 to 0.29, with a motion of 9 px 0.44 to 0.53."""
LEAST_OTHERS = 2


class Shown(NamedTuple):
    """What a texture shows; NaN where too little of the face is seen.

    Attributes:
        contrast: from the 5th to the 95th percentile of the brightness of the face's core, of the whole range.
        skin: share of the core, without eyes, brows, nostrils and lips, that has the colour of skin.
        eye_skin: the same of what lies about the eyes.
        sharpness: how much detail the core has, without eyes, nostrils and lips, which move: root mean square of the
            Laplacian of the logarithm of brightness, smoothed by `BAND_TEXELS`, times the square of that.  Exposure
            does not change it.
    """

    contrast: float
    skin: float
    eye_skin: float = np.nan
    sharpness: float = np.nan


class Skin:
    """Where a template's texture should show skin.  A template without the 68 landmarks has no such place.

    Attributes:
        bearded: (V,) where a beard grows, beyond: (V,) where hair and clothes may be, see `cover.CoverRegions`; both
            None without landmarks.
    """

    def __init__(self, template: Template) -> None:
        from scipy.spatial import cKDTree

        self._core = np.zeros(0, np.int64)
        self._skin = np.zeros(0, bool)
        self._still = np.zeros(0, bool)
        self._about_eyes = np.zeros(0, bool)
        self._uv = np.zeros((0, 2))
        self.bearded: Floats | None = None
        self.beyond: Floats | None = None
        if len(template.landmark_names) != len(IBUG68):
            return
        vertices, faces, marks = template.vertices, template.faces, template.landmarks()
        core = FaceCore.of(vertices, faces, vertex_areas(vertices, faces), marks)
        regions = CoverRegions.of(vertices, marks, core)
        self.bearded, self.beyond = regions.bearded, regions.worn
        self._core = np.flatnonzero(core.areas > 0)
        if not len(self._core):
            return
        places = vertices[self._core]
        skin = cKDTree(marks[NOSTRILS]).query(places)[0] > NOSTRILS_MM
        still = skin.copy()
        for group, reach in OTHER_MM.items():
            beyond = cKDTree(marks[GROUPS[group]]).query(places)[0] > reach
            skin &= beyond
            if "eyebrow" not in group:
                still &= beyond
        self._skin, self._still = skin, still
        eyes = [marks[GROUPS[name]].mean(axis=0) for name in ("right_eye", "left_eye")]
        self._about_eyes = cKDTree(eyes).query(places)[0] < ABOUT_EYES_MM
        corner = np.zeros(len(vertices), np.int64)
        corner[faces.ravel()] = template.uv_faces.ravel()
        self._uv = template.uv[corner[self._core]]

    def look(
        self, texture: Pixels, coverage: NDArray[np.uint8], skin: NDArray[np.uint8] | None = None
    ) -> Shown:
        """What a texture (s, s, 3) shows where the scan covers it (s, s), but for what registration told from skin (V,)
        already, of 255: a beard."""
        size = len(texture)
        column = np.clip(self._uv[:, 0] * size, 0, size - 1).astype(np.int64)
        row = np.clip((1 - self._uv[:, 1]) * size, 0, size - 1).astype(np.int64)
        seen = coverage[row, column] > 0
        judged = self._skin
        if skin is not None:
            told = ~is_skin(skin[self._core])
            seen &= ~told
            judged = judged & ~self._beards(told)
        if seen.sum() < MIN_VERTICES or (seen & judged).sum() < MIN_VERTICES:
            return Shown(np.nan, np.nan)
        colors = texture[row, column].astype(np.float64)
        brightness = colors.mean(axis=1)
        low, high = np.percentile(brightness[seen], (LOW, HIGH))
        alike = like_most(colors[seen & judged])
        about = self._about_eyes[seen & judged]
        eye_skin = float(alike[about].mean()) if about.sum() >= MIN_VERTICES else np.nan
        detail = self._sharpness(texture, coverage, row, column, seen)
        return Shown(float(high - low) / 255, float(alike.mean()), eye_skin, detail)

    def _sharpness(
        self,
        texture: Pixels,
        coverage: NDArray[np.uint8],
        row: NDArray[np.int64],
        column: NDArray[np.int64],
        seen: Bools,
    ) -> float:
        """See `Shown`; row, column: (k,) of the core's vertices in the texture, of which (k,) are seen."""
        cv2 = opencv()
        scale = len(texture) / 1024
        covered = (coverage > 0).astype(np.uint8)
        side = 2 * max(1, round(INSIDE_TEXELS * scale)) + 1
        inside = cv2.erode(covered, np.ones((side, side), np.uint8))[row, column] > 0
        used = self._still & seen & inside
        if used.sum() < MIN_VERTICES:
            return float("nan")
        brightness = np.log(texture.astype(np.float32).mean(axis=2) + np.float32(DARKEST))
        band = BAND_TEXELS * scale
        bent = cv2.Laplacian(cv2.GaussianBlur(brightness, (0, 0), band), cv2.CV_32F)
        return float(band**2 * np.sqrt(np.mean(np.square(bent[row[used], column[used]], dtype=np.float64))))

    def _beards(self, told: Bools) -> Bools:
        """(k,) where a beard grows in the core, if what was told from skin (k,) is enough of that to be one.

        A beard thins out towards its border: what is left of it there has the colour of hair, and is no fault.
        """
        grows = np.zeros(len(self._core), bool) if self.bearded is None else self.bearded[self._core] > 0
        return grows & bool(grows.any() and told[grows].mean() >= BEARD)


def notes(shown: Shown) -> list[tuple[str, str]]:
    """What a user should know of a texture: codes and sentences."""
    found = []
    if shown.contrast < EMPTY_CONTRAST:
        found.append(
            (
                "texture-empty",
                f"The texture of the face is all of one brightness: its contrast is {shown.contrast:.3f}. Is the image "
                "empty, or another one?",
            )
        )
    if shown.skin < LITTLE_SKIN:
        found.append(
            (
                "not-skin",
                f"Only {shown.skin:.0%} of what should be skin has its colour: is it hair, a hand, glasses, or shadow?",
            )
        )
    elif shown.eye_skin < LITTLE_SKIN:
        found.append(
            (
                "not-skin",
                f"Only {shown.eye_skin:.0%} of what should be skin about the eyes has its colour: is it glasses, hair, "
                "or shadow? What the scan has there is in the mesh, too.",
            )
        )
    return found


class Blur(NamedTuple):
    """How sharp a sequence's textures are.

    Attributes:
        shares: (F,) sharpness of its frames as a share of what is usual, NaN where that is not known.
        of_neutral: the median of the sequence's as a share of the median of the neutral's; NaN where there is none.
    """

    shares: Floats
    of_neutral: float


def blurred(sharpness: Floats, neutral: Floats) -> Blur:
    """How sharp a sequence's textures are among themselves and beside the subject's neutral.

    A frame is compared with the median of its sequence, or, where that is more, of the neutral's frames.  A sequence
    that lies below its neutral as a whole has another camera, or is blurred as a whole, which is said once of all of
    it: its frames are compared among themselves.

    Args:
        sharpness: (F,) of its frames, NaN where it is not known; neutral: (n,) of the neutral sequence's, which may be
            none.
    """
    own, others = (values[np.isfinite(values) & (values > 0)] for values in (sharpness, neutral))
    enough = len(own) > LEAST_OTHERS
    of_neutral = float(np.median(own) / np.median(others)) if len(own) and len(others) else np.nan
    usual = [float(np.median(own))] if enough else []
    if len(others) and not (enough and of_neutral < BLURRED):
        usual.append(float(np.median(others)))
    return Blur(sharpness / max(usual, default=np.nan), of_neutral)


def blur_note(share: float) -> tuple[str, str]:
    """Code and sentence of a texture of which the sharpness is so small a share of the usual."""
    return (
        "texture-blurred",
        f"The texture has {share:.0%} of the detail of the subject's other frames: did the head move while it was "
        "exposed, or was it out of focus?",
    )


def unlike_neutral_note(blur: Blur) -> tuple[str, str] | None:
    """Code and sentence of a sequence whose textures are much less or much more sharp than its subject's neutral;
    None where they are not, or where so few frames are less sharp that each has its own note."""
    code = "texture-unlike-neutral"
    if blur.of_neutral < BLURRED and np.isfinite(blur.shares).sum() > LEAST_OTHERS:
        return (
            code,
            f"The textures of this sequence have {blur.of_neutral:.0%} of the detail of the subject's neutral: is it "
            "another camera, or all of it blurred?",
        )
    if 1 / blur.of_neutral < BLURRED:
        return (
            code,
            f"The subject's neutral has {1 / blur.of_neutral:.0%} of the detail of this sequence's textures: is the "
            "neutral blurred, or of another camera?",
        )
    return None


def like_most(colors: Floats) -> Bools:
    """(k,) True where a colour of (k, 3), 0 to 255, is near to the median one, whatever the light."""
    brightness = np.log(colors.mean(axis=1) + DARKEST)
    shares = (colors + DARKEST / 3) / (colors + DARKEST / 3).sum(axis=1, keepdims=True)
    off = np.linalg.norm((shares - np.median(shares, axis=0))[:, :2], axis=1)
    return np.asarray((np.abs(brightness - np.median(brightness)) < BRIGHTNESS) & (off < CHROMA))
