"""model build: releases in, one model file out.

Reads the usable frames of releases of one template; writes identity, expression and joint models, models of parts of
the population, named blendshapes, sparse components and a texture model (`pipeline.model_file`).  What there is too
little for is left out of the file: identity and texture models need two subjects, what is made from expressions two
expressive frames.  Fails when the releases do not share a template, or hold fewer than two frames that are usable
and were asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mimicme.commands.model.blendshapes import named_blendshapes
from mimicme.commands.model.groups import groups_of
from mimicme.commands.model.parts import BuildCheckpoints
from mimicme.commands.model.prune import largest_norms, whitened_norms
from mimicme.commands.model.sparse import SparseSettings, sparse_components
from mimicme.commands.model.symmetry import Mirror
from mimicme.commands.model.texture import fit_texture
from mimicme.pipeline.arrays import Floats, Singles
from mimicme.pipeline.captures.consent import is_refusal
from mimicme.pipeline.errors import UsageError, counted, listed
from mimicme.pipeline.geometry.mesh import vertex_areas
from mimicme.pipeline.model_file import Blendshapes, FaceModel, pruned_table, subject_table, write_model
from mimicme.pipeline.numerics.linear_model import LinearModel, fit_pca, fit_streaming
from mimicme.pipeline.numerics.subsample import even_subsample
from mimicme.pipeline.release import Release
from mimicme.pipeline.release.frames import Balance, ReleaseFrames, apexes, balance_weights
from mimicme.pipeline.template import Template
from mimicme.pipeline.template.region_masks import region_mask, region_masks
from mimicme.pipeline.whole_file import refuse_existing, refuse_input

Rows = NDArray[np.int64]
Say = Callable[[str], None]

EXACT_BYTES = 400 << 20  # data up to this size goes through the exact decomposition
SPARSE_FRAMES = 300
FEW_PEOPLE = 10
"""With fewer, identity components mostly tell these people apart, and say little about others."""


@dataclass(frozen=True)
class BuildSettings:
    """What to build.

    Attributes:
        rank: most components of a model.
        mask: region that counts, of the template or derived (`pipeline.template.region_masks`); 'all' for every vertex.
        area_weights: a vertex counts by its area; False: all alike, as LSFM and menpo have it.
        balance: see `balance_weights`.
        symmetric: shapes are taken with their mirror images, blendshapes made symmetric.
        prune: share of each expression's frames that is left out as outliers.
        keep: frames, as 'SUBJECT/SEQUENCE/NUMBER' globs, that are never left out.
        sparse: sparse localised components; 0: none.  texture: pixels a side; 0: no texture model.
        group_minimum: people in a group that gets a model of its own; 0: none.
        split: only subjects of this split.  subjects: only ids that match this glob.
        seed: of the randomised decomposition.
    """

    rank: int = 100
    mask: str = "all"
    area_weights: bool = True
    balance: Balance = "subjects"
    symmetric: bool = False
    prune: float = 0.02
    keep: tuple[str, ...] = ()
    sparse: int = 0
    texture: int = 256
    group_minimum: int = 20
    split: str = ""
    subjects: str = "*"
    seed: int = 0

    def __post_init__(self) -> None:
        if self.rank < 1:
            raise UsageError("a model has at least one component", seen=self.rank)
        if not 0 <= self.prune < 0.5:
            raise UsageError("the pruned share is out of range", seen=self.prune, expected="0 to 0.5")


@dataclass(frozen=True)
class Survey:
    """What one pass over the expressive frames found.

    Attributes:
        rows: (n,) of the table.  amounts: (n,) mm from the neutral.
        pruned: (n,) True for what is left out.
    """

    rows: Rows
    amounts: Floats
    pruned: NDArray[np.bool_]


def build(
    releases: Sequence[str | Path],
    output: str | Path,
    settings: BuildSettings | None = None,
    say: Say | None = None,
    overwrite: bool = False,
) -> FaceModel:
    """Build a model file from releases, and return what is in it.

    An interrupted build goes on from `OUTPUT.parts/` when it is started again in the same way.

    Args:
        overwrite: replace a model that is there.

    Raises:
        UsageError: the file is there already or one of the releases; releases of different templates, or with fewer
            than two frames that can be used.
    """
    refuse_input(Path(output), map(Path, releases))
    refuse_existing(Path(output), overwrite)
    chosen = settings or BuildSettings()
    with ReleaseFrames(releases, lambda table: _unwanted(table, releases, chosen), "training") as frames:
        job = _Build(frames, Path(output), chosen, say or (lambda text: None))
        try:
            model = job.run()
        except UsageError:  # the same call would fail again
            job.parts.remove()
            raise
        write_model(output, model)
        job.parts.remove()
    return model


def _unwanted(
    table: NDArray[Any], releases: Sequence[str | Path], settings: BuildSettings
) -> NDArray[np.bool_]:
    """Frames of subjects who refused, are of another split or were not asked for."""
    people: dict[str, list[dict[str, Any]]] = {}
    for path in releases:
        with Release(path) as release:
            for subject, attributes in release.subjects.items():
                people.setdefault(subject, []).append(attributes)
    return np.isin(table["subject"], sorted(s for s in people if _why_unwanted(s, people[s], settings)))


def _why_unwanted(subject: str, all_attributes: Sequence[Mapping[str, Any]], settings: BuildSettings) -> str:
    """Why a subject is not to be in the model; empty where they are.

    Args:
        all_attributes: of the subject, in every release that has them.
    """
    if any(is_refusal(str(a.get("consent", ""))) for a in all_attributes):
        return "consent refused or withdrawn"
    if settings.split and any(str(a.get("split", "")) != settings.split for a in all_attributes):
        return f"of another split than '{settings.split}'"
    return "" if fnmatchcase(subject, settings.subjects) else f"not of '{settings.subjects}'"


def model_weights(template: Template, mask: str = "all", area_weights: bool = True) -> Floats:
    """(V,) vertex weights of a model: area times mask."""
    weights = (
        vertex_areas(template.vertices, template.faces) if area_weights else np.ones(len(template.vertices))
    )
    if mask != "all":
        weights = weights * region_mask(template, mask)
        weights[weights < 1e-3 * weights.max()] = 0
    # a vertex of no triangle has no area, and no say
    return weights


class _Build:
    """One build: its frames, weights and finished parts."""

    def __init__(self, frames: ReleaseFrames, output: Path, settings: BuildSettings, say: Say) -> None:
        self.frames, self.settings, self.say = frames, settings, say
        self.weights = model_weights(frames.template, settings.mask, settings.area_weights)
        self.mirror = Mirror(frames.template) if settings.symmetric else None
        self.fingerprints = tuple(release.fingerprint for release in frames.releases)
        record = [self.fingerprints, asdict(settings), len(frames), frames.template.digest]
        self.parts = BuildCheckpoints(output, record)
        self.subjects = frames.subjects
        self.left_out: list[tuple[str, str, str, int, float]] = []

    def run(self) -> FaceModel:
        people, frames = self.subjects, self.frames
        self.say(f"{counted(len(people), 'subject')}, {counted(len(frames), 'frame')}{self._absent()}")
        if len(people) < FEW_PEOPLE:
            self.say(
                f"warning: {counted(len(people), 'person is', 'people are')} too few to speak for others; use "
                f"the model for these alone, or build it from {FEW_PEOPLE} and more"
            )
        models: dict[str, LinearModel] = {}
        identity_people = self._prune_people() if len(people) > 1 else people
        if len(people) > 1:
            models["identity"] = self._identity("identity", identity_people)
        else:
            without = "identity or texture model" if self.settings.texture else "identity model"
            self.say(f"warning: no {without}: {people[0]} is the only subject, and it takes two")
        survey = self._survey() if len(frames.expressive) > 1 else None
        blendshapes = sparse = None
        everything = np.arange(len(frames), dtype=np.int64)
        if survey is not None:
            kept = survey.rows[~survey.pruned]
            models["expression"] = self._fit("expression", kept, difference=True)
            everything = np.setdiff1d(everything, survey.rows[survey.pruned])
            blendshapes = self._blendshapes(survey)
            sparse = self._sparse(survey) if self.settings.sparse else None
        models["joint"] = self._fit("joint", everything, difference=False)
        if self.settings.group_minimum:
            attributes = {s: frames.attributes(s) for s in identity_people}
            for name, group in groups_of(attributes, max(self.settings.group_minimum, 2)).items():
                models[f"identity:{name}"] = self._identity(f"identity:{name}", group)
        texture = None
        if self.settings.texture and len(people) > 1:
            self.say("texture")
            texture = fit_texture(
                frames, people, self.settings.texture, self.settings.rank, self.settings.seed, self.say
            )
        licences = sorted({str(r.attributes.get("licence", "")) for r in frames.releases} - {""})
        return FaceModel(
            replace(frames.template, notes=()),
            models,
            blendshapes,
            sparse,
            texture,
            self._people_table(),
            pruned_table(self.left_out),
            asdict(self.settings),
            self.fingerprints,
            "; ".join(licences),
            max(str(r.attributes.get("created", "")) for r in frames.releases),
        )

    def _absent(self) -> str:
        """Who of the releases' subjects is left out, by reason; empty where all are in."""
        releases, here, reasons = self.frames.releases, set(self.subjects), dict[str, list[str]]()
        for subject in sorted({s for release in releases for s in release.subjects} - here):
            known = [release.subjects[subject] for release in releases if subject in release.subjects]
            why = _why_unwanted(subject, known, self.settings)
            if not why:
                forbids = subject in self.frames.forbidden
                why = "training not permitted" if forbids else "no usable frame"
            reasons.setdefault(why, []).append(subject)
        absent = sum(map(len, reasons.values()))
        told = "; ".join(f"{why}: {listed(who)}" for why, who in reasons.items())
        return f"; {absent} left out ({told})" if absent else ""

    def _people_table(self) -> NDArray[Any]:
        rows = []
        for subject in self.subjects:
            a = self.frames.attributes(subject)
            n = len(self.frames.rows_of(subject))
            source = self.frames.neutral(subject).source
            rows.append((subject, str(a.get("consent", "")), str(a.get("split", "")), source, n))
        return subject_table(rows)

    # -- linear models

    def _with_mirror(self, batches: Iterator[Singles], difference: bool) -> Iterator[Singles]:
        for batch in batches:
            yield batch
            if self.mirror is not None:
                if difference:
                    yield self.mirror.differences(batch)
                else:
                    yield self.mirror.shapes(batch, self.frames.template)

    def _decompose(
        self,
        name: str,
        kind: str,
        batches: Callable[[int], Iterator[Singles]],
        n: int,
        sample_weights: Floats | None,
        rank: int,
        difference: bool,
    ) -> LinearModel:
        """Exact where the data is small, streamed where it is not.  `batches(skip)`: from one on."""
        twice = 1 if self.mirror is None else 2
        if sample_weights is not None and twice == 2:
            size = self.frames.batch_frames
            parts = [sample_weights[a : a + size] for a in range(0, n, size)]
            sample_weights = np.concatenate([np.tile(p, 2) for p in parts])

        def make(checkpoint: Path, fingerprint: str) -> LinearModel:
            self.say(f"{name}: {counted(n, 'shape')}")
            if twice * n * len(self.weights) * 24 <= EXACT_BYTES:
                data = np.concatenate(list(self._with_mirror(batches(0), difference)))
                return fit_pca(data, self.weights, sample_weights, rank, kind)

            def onward(skip: int) -> Iterator[Singles]:
                whole, odd = divmod(skip, twice)
                made = self._with_mirror(batches(whole), difference)
                if odd:
                    next(made)
                return made

            return fit_streaming(
                lambda: onward(0),
                self.weights,
                sample_weights,
                rank,
                self.settings.seed,
                kind,
                checkpoint=checkpoint,
                fingerprint=fingerprint,
                batches_from=onward,
            )

        return self.parts.model(f"{name} {n}", make)

    def _identity(self, name: str, people: Sequence[str]) -> LinearModel:
        size = self.frames.batch_frames

        def batches(skip: int) -> Iterator[Singles]:
            return self.frames.neutrals(people[skip * size :])

        return self._decompose(name, "identity", batches, len(people), None, self.settings.rank, False)

    def _fit(self, name: str, rows: Rows, difference: bool, rank: int | None = None) -> LinearModel:
        def batches(skip: int) -> Iterator[Singles]:
            return self.frames.batches(rows, difference=difference, skip=skip)

        weights = balance_weights(self.frames.table[rows], self.settings.balance)
        kind = "expression" if difference else "joint"
        return self._decompose(
            name, kind, batches, len(rows), weights, rank or self.settings.rank, difference
        )

    # -- outliers

    def _prune_people(self) -> list[str]:
        people = self.subjects
        if int(self.settings.prune * len(people)) == 0:
            return people
        first = self._identity("identity, first", people)
        coefs = np.concatenate([first.encode(batch) for batch in self.frames.neutrals(people)])
        classes = np.full(len(people), "neutral")
        norms = whitened_norms(first, coefs, classes)
        out = largest_norms(norms, classes, self.settings.prune)
        for k in np.flatnonzero(out):
            if self._kept(people[k], "", -1):
                out[k] = False
            else:
                self.left_out.append((people[k], "", "neutral", -1, float(norms[k])))
        return [s for s, gone in zip(people, out, strict=True) if not gone]

    def _kept(self, subject: str, sequence: str, frame: int) -> bool:
        name = f"{subject}/{sequence}/{frame}" if sequence else subject
        return any(fnmatchcase(name, pattern) for pattern in self.settings.keep)

    def _survey(self) -> Survey:
        """Norms and amounts of the expressive frames, and which of them go."""
        rows = self.frames.expressive
        table = self.frames.table[rows]
        first = self._fit("expression, first", rows, difference=True)
        share = self.weights / self.weights.sum()
        coefs, amounts = [], []
        for batch in self.frames.batches(rows, difference=True):
            coefs.append(first.encode(batch))
            amounts.append(np.sqrt((batch.astype(np.float64) ** 2).sum(axis=2) @ share))
        rest = first.encode(np.zeros((1, *first.mean.shape), np.float32))[0]
        norms = whitened_norms(first, np.concatenate(coefs), table["expression"], rest)
        out = largest_norms(norms, table["expression"], self.settings.prune)
        for k in np.flatnonzero(out):
            entry = table[k]
            where = str(entry["subject"]), str(entry["sequence"])
            if self._kept(*where, int(entry["frame"])):
                out[k] = False
            else:
                self.left_out.append((*where, str(entry["expression"]), int(entry["frame"]), float(norms[k])))
        self.say(f"{int(out.sum())} of {len(rows)} expressive frames left out as outliers")
        return Survey(rows, np.concatenate(amounts), out)

    # -- shapes

    def _apex_differences(self, survey: Survey) -> Iterator[tuple[str, str, Floats]]:
        """(subject, label, (V, 3) mean difference of the apex frames) of each expressive sequence."""
        table = self.frames.table[survey.rows]
        # what an apex is, is measured before outliers go: else a milder frame would take its place
        for (subject, _), every in apexes(table, self.frames.gone(survey.rows, survey.amounts)).items():
            picked = every[~survey.pruned[every]]
            if not len(picked):
                continue
            total = np.zeros_like(self.frames.template.vertices)
            for batch in self.frames.batches(survey.rows[picked], difference=True):
                total += batch.sum(axis=0, dtype=np.float64)
            yield subject, str(table["expression"][picked[0]]), total / len(picked)

    def _blendshapes(self, survey: Survey) -> Blendshapes:
        self.say("blendshapes")
        sums: dict[str, dict[str, tuple[Floats, int]]] = {}
        for subject, label, delta in self._apex_differences(survey):
            total, n = sums.setdefault(label, {}).get(subject, (np.zeros_like(delta), 0))
            sums[label][subject] = total + delta, n + 1  # several takes of one person are one voice
        deltas = {name: [(s, t / n) for s, (t, n) in people.items()] for name, people in sums.items()}
        return named_blendshapes(deltas, self.mirror)[0]

    def _sparse(self, survey: Survey) -> Blendshapes:
        self.say("sparse components")
        rows = survey.rows[~survey.pruned]
        chosen = rows[even_subsample(len(rows), SPARSE_FRAMES)]
        data = np.concatenate(list(self.frames.batches(chosen, difference=True)))
        people = len(np.unique(self.frames.table["subject"][chosen]))
        template = self.frames.template
        shapes, _ = sparse_components(
            data, template.vertices, template.faces, SparseSettings(self.settings.sparse)
        )
        names = tuple(f"sparse_{k:02d}_{place}" for k, place in enumerate(_region_names(shapes, template)))
        return Blendshapes(names, shapes, np.full(len(names), people, np.int32))


def _region_names(shapes: Singles, template: Template) -> list[str]:
    """The region in which each shape moves most."""
    masks = region_masks(template)
    parts = ("brows", "cheeks", "eyes", "forehead", "jaw", "mouth", "nose")
    known = [n for n in parts if n in masks]
    if not known:
        return ["part"] * len(shapes)
    energy = (shapes.astype(np.float64) ** 2).sum(axis=2) @ np.stack([masks[n] for n in known], axis=1)
    return [known[int(k)] for k in energy.argmax(axis=1)]
