"""Skin or not: where a scan shows the person's head, and where only what lies on it - hair, a cap, a collar.

Such a surface is connected, has normals like the head's, and is fitted as well as skin is; it has another colour, or is
rough.  What skin looks like is learnt from every scan anew, of nose and upper cheeks: its colour, whatever that is, and
how rough its surface is.  Single places say little, so that the coarse level's vertices are judged, each by what lies
around it, and carried over to the template's; only a colour that is far off says something by itself.

In the face eyes, brows and lips need not look like skin, and are not judged.  Where a beard grows, stubble, a shadow
and make-up have another colour than skin, and folds are rough, but all of these lie on the face: what has both there,
another colour and the roughness of hair, is a beard that hides the chin.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from mimicme.pipeline.arrays import Bools, Floats
from mimicme.pipeline.landmarks import GROUPS
from mimicme.pipeline.template import Template
from mimicme.pipeline.template.cover import BARE_BELOW_NOSE_MM, CoverRegions
from mimicme.pipeline.template.face_core import FaceCore
from mimicme.stages.register.levels import Levels
from mimicme.stages.register.shells import Shells
from mimicme.stages.register.targets import ClosestPoints, ScanTarget

REACH_MM, LEAST_COSINE = 15.0, 0.2
"""What lies in so far from the fitted shape, and faces as it does, is judged."""
OTHER_MM = {"right_eyebrow": 8.0, "left_eyebrow": 8.0, "right_eye": 8.0, "left_eye": 8.0}
NOSTRILS, NOSTRILS_MM = slice(31, 36), 5.0
EYES = slice(36, 48)
LEAST_LEARNT = 50
"""Of a face of which a scan shows fewer vertices nothing is said."""
DARKEST = 1.0
"""Added to a colour, of 255, before its logarithm is taken."""
CLIPPED = 250.0
"""Of 255: a channel that has so much may have had any more; JPEG and interpolation take some of it."""
LEAST_SPREAD = (0.12, 0.03, 0.03)
"""Least standard deviation of the logarithms of brightness, red over green and blue over green: light and shade."""
EVEN_HUE, HUE_ODDS, DARK_ODDS = 3.2, 3.0, 0.75
EVEN_ROUGH, ROUGH_ODDS, MOST_ROUGH_ODDS = 3.0, 0.6, 1.0
EVEN_ROUGH_ALONE, ROUGH_ODDS_ALONE = 8.0, 2.0
"""Logarithmic odds against skin: by the logarithm of hue over the first, and by darkness; by the logarithm of
roughness; and by that alone, which holds where it says more.  On two makers' people (5 of `mimicme synth`, 2 of
another), as they are and with hair and a collar put over their scans, skin has a hue of 0.7 to 1.4 in the median and
2.1 in the 95th percentile; hair and collars have 3.8 to 17, and in the fifth percentile 3.5 to 16.  Roughness is 0.2
and 2 to 6.5 on skin, 6 to 38 in the median on hair and collars."""
EVEN_ROUGH_BEARD, EVEN_DARK_BEARD = 4.0, 0.4
"""Where a beard grows both colour and roughness have to speak for hair: the first is the same as the second above; and
hair in the hue of skin is darker by a third or more, the second, as shade is, which is smooth, and a fold is not.  On
two more people of `mimicme synth`, neutral, surprised and happy, bare skin has there a hue of 1.4 and a roughness of
1.6 at most in the 95th percentile; under the beards of the other maker, 6 and 12 mm long, put over their scans, 4.6 to
12 and 9 to 11 in the median."""
TOLD = 0.3
"""Least share of a patch as rough as hair, where a beard grows, that colour tells for one too, so that all of it is:
about a third, set beforehand.  Of what 6 beards of that other maker hide, five are told to 87 to 94 %, before 86 to 94,
with more of their thin border; the sixth, in the hue of skin, to 94 %, before 71.  21 bare frames of three makers are
told as before."""
EVEN_HUE_NEAR = 4.5
"""The same as the first, of a vertex and its neighbours alone."""
LEAST_ROUGH_MM = 0.05
"""A surface that is smoother is as smooth as this one."""
LEAST_SEEN = 4.0
"""Of a coarse vertex around which fewer places are seen nothing is said."""
CERTAIN, LET_GO = 0.2, 0.5
"""Share of what is not skin up to which correspondences count in full, and from which on not at all."""
BARE_MM2, OTHER_MM2 = 150.0, 300.0
"""A patch that is in doubt is skin up to the first, and counts in full from the second on: its area times how far its
share is above `CERTAIN`.  On two people of `mimicme synth` patches of bare skin have 78 at most, on a template of 2,605
vertices 124; hair of three colours and stubble put over them 4,000 and more."""

HIDES_MM, COVERED = 8.0, 0.9
"""What is not seen so far from what is worn lies below it or in its shadow, and is skin as little as that.  Reasoned,
not tuned: a gap between a collar and the neck, or between strands of hair, is some millimetres wide; 15 mm tell the
same."""


class Look(NamedTuple):
    """What a scan has around each vertex of the coarse level, (n,), and around those of the template, (V,).

    Attributes:
        seen: number of places; coloured: of those that have a colour.
        hue: distance of the colour's shares from those of skin, in its standard deviations, as far as light does not
            explain it; tint: all of it, as smooth skin alone shines.
        dark: how much darker than skin, in the natural logarithm.
        rough: spread of the surface about the smooth shape, in that of skin.
        near: (V,) probability, by the colour of a vertex and its neighbours alone, that there is no skin: what is
            narrower than the coarse level, the tip of a sideburn.
        shown: (V,) whether the scan has a surface there that may be judged, or nobody looks.
    """

    seen: Floats
    coloured: Floats
    hue: Floats
    tint: Floats
    dark: Floats
    rough: Floats
    near: Floats
    shown: Bools


@dataclass(frozen=True)
class SkinRegion:
    """Where a template is judged, and of what skin is learnt.

    Attributes:
        judged: (V,) 0 in the face, 1 beyond; bearded: (V,) 1 where a beard grows in the face, 0 elsewhere; beside: (V,)
            1 where long hair hangs into the face, 0 elsewhere; see `CoverRegions`.
        places: (s,) vertices that are looked at; learnt: (s,) True for those that skin is learnt of; cell: (s,) the
            coarse vertex that each lies at.
        ears: (n,) how far a coarse vertex lies on an ear, which has relief of its own.
        around: (n, n) rows that sum over a coarse vertex and its neighbours; ring: (V, V) the same of the template's.
        prolong: (V, n), see `Levels`.
        areas: (V,) mm^2.
        shells: where something may be worn that looks like skin.
    """

    judged: Floats
    bearded: Floats
    beside: Floats
    places: NDArray[np.int64]
    learnt: Bools
    cell: NDArray[np.int64]
    ears: Floats
    around: sparse.csr_matrix
    ring: sparse.csr_matrix
    prolong: sparse.csr_matrix
    areas: Floats
    shells: Shells

    @classmethod
    def of(cls, template: Template, levels: Levels, core: FaceCore) -> SkinRegion:
        """That of a template, (68, 3) of whose landmarks it needs."""
        from scipy.spatial import cKDTree

        vertices, marks = template.vertices, template.landmarks()
        in_core = core.areas > 0
        # of the face's core as far down as no beard grows
        learnt = in_core & (vertices[:, 1] > marks[33, 1] - BARE_BELOW_NOSE_MM)
        learnt &= cKDTree(marks[NOSTRILS]).query(vertices)[0] > NOSTRILS_MM
        far_from_others = np.ones(len(vertices), bool)
        for group, reach in OTHER_MM.items():
            far_from_others &= cKDTree(marks[GROUPS[group]]).query(vertices)[0] > reach
        learnt &= far_from_others
        regions = CoverRegions.of(vertices, marks, core)
        judged, bearded, beside = regions.worn, regions.bearded, regions.beside * far_from_others
        places = np.flatnonzero((judged > 0) | (bearded > 0) | (beside > 0) | learnt)
        heaviest = np.asarray(levels.prolong.argmax(axis=1)).ravel()
        n = levels.prolong.shape[1]
        around = (levels.coarse.neighbours + sparse.identity(n)).tocsr()
        ears = levels.coarse.ears.max(axis=1)
        ring = (levels.fine.neighbours + sparse.identity(len(vertices))).tocsr()
        return cls(
            judged,
            bearded,
            beside,
            places,
            learnt[places],
            heaviest[places],
            ears,
            around,
            ring,
            levels.prolong,
            levels.fine.areas,
            Shells.of(
                ring,
                judged,
                vertices[:, 1] > marks[EYES].mean(axis=0)[1],
                levels.fine.ears.max(axis=1, initial=0.0),
                levels.fine.areas,
            ),
        )

    def share(self, vertices: Floats, normals: Floats, scan: ScanTarget) -> Floats | None:
        """(V,) in [0, 1]: how likely a scan shows the person's own surface, at a shape (V, 3) with normals (V, 3) that
        lies on it about; 1 in the face but below a beard; as around it where nothing is seen.  None where too little
        of the face is seen to learn what skin looks like."""
        found = self.look(vertices, normals, scan)
        if found is None:
            return None
        foreign = self._foreign(found)
        known = (found.seen >= LEAST_SEEN).astype(np.float64)
        for _ in range(2):  # what is not seen is as what lies around it
            weights = (self.around @ known + known)[:, None]
            total = self.around @ (foreign * known[:, None]) + foreign * known[:, None]
            foreign = total / np.maximum(weights, 1e-12)
            known = (weights[:, 0] > 0).astype(np.float64)
        worn, beard, hanging = np.clip(self.prolong @ foreign, 0, 1).T
        near = np.maximum(worn, found.near)
        foreign = self._borne_out(self.judged * near + self.bearded * beard + self.beside * hanging)
        return np.asarray(1 - self._with_hidden(foreign, found.shown))

    def worn(self, vertices: Floats, normals: Floats, scan: ScanTarget, rest: Floats) -> NDArray[np.int64]:
        """Vertices below what is worn and may look like skin, which its rim tells; see shells.py.

        Args:
            vertices: (V, 3) a shape that was fitted to the scan; normals: (V, 3) its own.
            rest: (V, 3) what it was fitted from, moved as the head has.
        """
        rows = self.shells.rows
        found = scan.closest_points(vertices[rows], REACH_MM)
        seen = _in_reach(found, normals[rows])
        offsets = np.where(seen[:, None], found.points - rest[rows], np.nan)
        return self.shells.worn(offsets, normals[rows])

    def _borne_out(self, foreign: Floats) -> Floats:
        """(V,) a share of what is not skin without the doubts that nothing bears out: a patch of vertices that are in
        doubt, above `CERTAIN`, counts by its area and by how far they are above it.

        Else what is let go of a bare head would hang on a few levels of colour, wherever it has a mole or a shadow.
        """
        from scipy.sparse.csgraph import connected_components

        doubted = np.flatnonzero(foreign > CERTAIN)
        count, patch = connected_components(self.ring[doubted][:, doubted], directed=False)
        over = (foreign[doubted] - CERTAIN) / (1 - CERTAIN)
        evidence = np.bincount(patch, self.areas[doubted] * over, count)
        counts = np.clip((evidence - BARE_MM2) / (OTHER_MM2 - BARE_MM2), 0, 1)
        out = foreign.copy()
        out[doubted] = CERTAIN + counts[patch] * (foreign[doubted] - CERTAIN)
        return out

    def _with_hidden(self, foreign: Floats, shown: Bools) -> Floats:
        """(V,) a share of what is not skin, with what of it hides skin: places beside it that are not `shown` (V,).

        A scan ends below a rim and has holes between strands, and what is not seen there has the colour of skin as
        little as of hair: it is covered as what lies beside it.
        """
        from scipy.sparse.csgraph import connected_components

        told = np.flatnonzero((foreign > LET_GO) & (self.judged + self.beside > 0))
        if not len(told):
            return foreign
        hidden = np.zeros(len(foreign), bool)
        hidden[self.places] = ~shown[self.places]
        # a patch of which nothing is seen is no evidence: its share is that of what lies farther away
        count, patch = connected_components(self.ring[told][:, told], directed=False)
        covered = np.zeros(len(foreign), bool)
        covered[told] = (np.bincount(patch, ~hidden[told], count) > 0)[patch]
        for _ in range(round(HIDES_MM / float(np.sqrt(self.areas.mean())))):
            covered |= hidden & (self.ring @ covered > 0)
        return np.where(covered & hidden, np.maximum(foreign, COVERED), foreign)

    def _foreign(self, found: Look) -> Floats:
        """(n, 3) probability that around a coarse vertex there is no skin: of one outside the face, of one where a
        beard grows, and of one where hair hangs into the face.

        There it takes another hue and the roughness of hair: a face that turns away from the light is darker, and a
        scan rough where it ends.
        """
        rough = np.log(np.maximum(found.rough, 1e-3))
        plain = 1 - self.ears
        hue = HUE_ODDS * np.log(np.maximum(found.hue, 0.1) / EVEN_HUE)
        with_colour = hue + DARK_ODDS * np.maximum(found.dark, 0)
        with_colour += plain * np.clip(
            ROUGH_ODDS * (rough - np.log(EVEN_ROUGH)), -MOST_ROUGH_ODDS, MOST_ROUGH_ODDS
        )
        bare = plain * ROUGH_ODDS_ALONE * (rough - np.log(EVEN_ROUGH_ALONE)) - 3 * self.ears
        odds = np.where(found.coloured >= LEAST_SEEN, np.maximum(with_colour, bare), bare)
        tinted = HUE_ODDS * np.log(np.maximum(found.tint, 0.1) / EVEN_HUE)
        tinted += DARK_ODDS * np.maximum(found.dark, 0)
        darker = HUE_ODDS * np.log(np.maximum(found.dark, 0.01) / EVEN_DARK_BEARD)
        hairy = ROUGH_ODDS_ALONE * (rough - np.log(EVEN_ROUGH_BEARD))
        beard = np.where(found.coloured >= LEAST_SEEN, np.minimum(np.maximum(tinted, darker), hairy), -20.0)
        beard = self._whole_beards(beard, np.where(found.seen >= LEAST_SEEN, hairy, -20.0))
        hanging = np.where(found.coloured >= LEAST_SEEN, np.minimum(hue, hairy), -20.0)
        each = np.stack([odds, beard, hanging], axis=1)
        each[found.seen < LEAST_SEEN] = -20.0
        return np.asarray(1 / (1 + np.exp(-np.clip(each, -20, 20))))

    def _whole_beards(self, beard: Floats, hairy: Floats) -> Floats:
        """Odds (n,) of a beard around coarse vertices, as colour and roughness together tell one, `beard`; and as
        roughness alone does, `hairy`, in a patch of such vertices, if the other tells a beard in enough of it.

        The colour of hair goes over into that of skin from strand to strand, its roughness does not: what hangs
        together by that is one beard, or is none.
        """
        from scipy.sparse.csgraph import connected_components

        grows = np.bincount(self.cell, self.bearded[self.places], len(beard)) > 0
        rough = np.flatnonzero(grows & (hairy > 0))
        count, patch = connected_components(self.around[rough][:, rough], directed=False)
        told = np.bincount(patch, beard[rough] > 0, count) >= TOLD * np.bincount(patch, minlength=count)
        whole = beard.copy()
        whole[rough] = np.where(told[patch], hairy[rough], beard[rough])
        return whole

    def look(self, vertices: Floats, normals: Floats, scan: ScanTarget) -> Look | None:
        """What a scan has around a shape (V, 3), which lies on it about, with unit normals (V, 3)."""
        found, colors = scan.closest_colors(vertices[self.places], REACH_MM)
        normals = normals[self.places]
        seen = _in_reach(found, normals)
        learnt = self.learnt & seen
        if learnt.sum() < LEAST_LEARNT:
            return None
        height = np.einsum("sx,sx->s", found.points - vertices[self.places], normals)
        count = self._sum(seen.astype(np.float64))
        # a shape that does not fit yet slopes away from its scan, and is not rough
        for _ in range(2):
            height = height - (self.prolong @ self._moments(height, seen, count)[0])[self.places]
        _, rough = self._moments(height, seen, count)
        hue = tint = dark = coloured = np.zeros(len(count))
        near = np.zeros(len(vertices))
        if colors is not None:
            tones = tones_of(colors)
            # what nobody painted is black, and what is white in all channels may have any colour
            known = seen & np.isfinite(tones).all(axis=1) & (colors > 0).any(axis=1)
            known &= (colors < CLIPPED).any(axis=1)
            middle = (
                np.median(tones[learnt & known], axis=0) if (learnt & known).sum() >= LEAST_LEARNT else None
            )
            if middle is not None:
                plain = np.where(known[:, None], tones - middle, 0.0)
                tones = np.where(known[:, None], unlike(colors, middle), 0.0)
                spread = np.maximum(1.4826 * np.median(np.abs(tones[learnt & known]), axis=0), LEAST_SPREAD)
                coloured = self._sum(known.astype(np.float64))
                means = [self._moments(t, known, coloured)[0] for t in tones.T]
                hue = np.hypot(means[1] / spread[1], means[2] / spread[2])
                dark = -means[0]
                means = [self._moments(t, known, coloured)[0] for t in plain.T[1:]]
                tint = np.hypot(means[0] / spread[1], means[1] / spread[2])
                near = self._near(tones / spread, known)
        rough = rough / max(self._usual(rough, learnt), LEAST_ROUGH_MM)
        shown = np.ones(len(vertices), bool)
        shown[self.places] = seen
        return Look(count, coloured, hue, tint, dark, rough, near, shown)

    def _near(self, tones: Floats, known: Bools) -> Floats:
        """(V,) see `Look`; of tones (s, 3) less those of skin, in its standard deviations, where they are known."""
        columns = np.zeros((len(self.judged), 3))
        columns[self.places[known]] = np.column_stack([tones[known, 1:], np.ones(known.sum())])
        total = self.ring @ columns
        hue = np.linalg.norm(total[:, :2], axis=1) / np.maximum(total[:, 2], 1)
        odds = HUE_ODDS * np.log(np.maximum(hue, 0.1) / EVEN_HUE_NEAR)
        return np.where(total[:, 2] >= LEAST_SEEN, 1 / (1 + np.exp(-odds)), 0.0)

    def _sum(self, values: Floats) -> Floats:
        return np.asarray(self.around @ np.bincount(self.cell, values, self.around.shape[0]))

    def _moments(self, values: Floats, known: Bools, count: Floats) -> tuple[Floats, Floats]:
        """Mean and standard deviation (n,) around each coarse vertex of values (s,) where they are known."""
        values = np.where(known, values, 0.0)
        mean = self._sum(values) / np.maximum(count, 1)
        square = self._sum(values**2) / np.maximum(count, 1)
        return mean, np.sqrt(np.maximum(square - mean**2, 0))

    def _usual(self, values: Floats, learnt: Bools) -> float:
        """Median of values (n,) where skin is learnt."""
        return float(np.median(values[np.unique(self.cell[learnt])]))


def has_cover(vertices: Floats, normals: Floats, scan: ScanTarget) -> Bools:
    """(n,) where a scan has a surface over what it does not show the skin of, as `SkinRegion.look` looks for one.

    What is told of a beard is said around it too, where the scan may end.

    Args:
        vertices: (n, 3) of a shape, mm; normals: (n, 3) theirs, of length 1.
    """
    return _in_reach(scan.closest_points(vertices, REACH_MM), normals)


def _in_reach(found: ClosestPoints, normals: Floats) -> Bools:
    """(n,) where the closest points of vertices with normals (n, 3) are within reach and face as they do."""
    facing = np.einsum("sx,sx->s", found.normals, normals) > LEAST_COSINE
    return np.asarray(facing & ~found.on_boundary & (found.distances < REACH_MM))


def tones_of(colors: Floats) -> Floats:
    """(k, 3) logarithms of brightness, red over green, blue over green, of colours (k, 3), 0 to 255."""
    red, green, blue = np.log(colors + DARKEST).T
    return np.stack([np.log(colors.mean(axis=1) + DARKEST), red - green, blue - green], axis=1)


def unlike(colors: Floats, skin: Floats) -> Floats:
    """(k, 3) tones of colours (k, 3), 0 to 255, less those of skin (3,), as far as light does not explain it.

    A highlight adds white to the skin's own colour (the dichromatic reflection model: Shafer, Using color to separate
    reflection components, 1985), as much as the place is brighter than skin, or less where there is more light too:
    what lies on the way from skin's shares to those is skin, and of other colours what lies beside it is told.  And a
    channel that is clipped had as much or more: what more of it would bring nearer to skin's says nothing, and each of
    its shares may lie anywhere between.
    """
    found = tones_of(colors) - skin
    level, ratios = np.exp(skin[0]), np.exp(skin[1:])
    green = 3 * level / (1 + ratios.sum())
    white = np.maximum(level * np.expm1(found[:, 0]), 0)[:, None]
    highlight = np.log((green * ratios + white) / (green + white)) - skin[1:]
    along = (found[:, 1:] * highlight).sum(axis=1) / np.maximum((highlight**2).sum(axis=1), 1e-12)
    on_the_way = np.clip(along, 0, 1)[:, None] * highlight
    between = np.clip(found[:, 1:], np.minimum(highlight, 0), np.maximum(highlight, 0))
    found[:, 1:] -= np.where(np.any(colors >= CLIPPED, axis=1, keepdims=True), between, on_the_way)
    over, base = colors[:, [0, 2]] >= CLIPPED, colors[:, 1:2] >= CLIPPED
    found[:, 1:] = np.where(over, np.maximum(found[:, 1:], 0), found[:, 1:])
    found[:, 1:] = np.where(base, np.minimum(found[:, 1:], 0), found[:, 1:])
    return found


def weights_of(skin: Floats) -> Floats:
    """(k,) factor of the correspondences' weights: 1, and less where a scan does not show skin (k,)."""
    return np.clip((LET_GO - (1 - skin)) / (LET_GO - CERTAIN), 0, 1)


def as_bytes(skin: Floats) -> NDArray[np.uint8]:
    """(k,) a share, 0 to 1, in steps of 1 / 255."""
    return np.floor(255 * skin + 0.499).astype(np.uint8)  # a half is not sure
