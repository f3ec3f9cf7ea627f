"""experiment expressions: which expression a sequence shows, on people that the classifier has never seen.

Reads a release; writes into a folder

    experiment.json         protocol and results
    results.csv, .png       accuracy and balanced accuracy of each feature and classifier, with intervals and chance
    predictions.csv         what was said of each sequence, and in which fold
    folds.csv               who was tested in which fold
    confusion_<feature>_<classifier>.csv, .png

Features: `coefficients` of a linear model of the registered shapes, `landmarks` on the registered mesh, `texture`.
Models, means, scales and classifiers are made of a fold's training people alone.  With the neutral known (default)
all features are differences to the subject's own neutral and `neutral` is no class; without, they are absolute and
it is one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from mimicme.commands.experiment.features import COMPONENTS, Coefficients, Feature, Pixels, RawValues
from mimicme.commands.experiment.learners import Predictions, Score, cross_validate, score
from mimicme.commands.experiment.protocol import Protocol
from mimicme.commands.experiment.results import write_classification
from mimicme.commands.experiment.samples import attribute_samples, expression_samples
from mimicme.pipeline.errors import UsageError
from mimicme.pipeline.release.frames import ReleaseFrames

FEATURES = ("coefficients", "landmarks", "texture")

Progress = Callable[[str], None]


def feature_named(name: str, components: int = COMPONENTS) -> Feature:
    """One of `FEATURES`.

    Raises:
        UsageError: there is no such feature.
    """
    made: dict[str, Feature] = {
        "coefficients": Coefficients("shape", components),
        "landmarks": RawValues("landmarks"),
        "texture": Pixels("texture", components),
    }
    if name not in made:
        raise UsageError("there is no such feature", seen=name, expected=", ".join(FEATURES))
    return made[name]


def recognise_expressions(
    release: Path,
    output: Path,
    protocol: Protocol,
    *,
    features: Sequence[str] = FEATURES,
    classifiers: Sequence[str] = ("lda",),
    expressions: Sequence[str] = (),
    neutral_known: bool = True,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Run the experiment and write its tables and plots.

    Args:
        features: of `FEATURES`; classifiers: of `learners.CLASSIFIERS`.
        expressions: labels to tell apart; by default all.
        neutral_known: see the module.

    Returns:
        What `experiment.json` holds.

    Raises:
        UsageError: too few people or expressions.
    """
    with ReleaseFrames([release], use="training") as frames:
        found = expression_samples(frames, expressions, neutral_known=neutral_known, progress=progress)
        people = sorted({str(s) for s in found.samples.subjects})
        attribute_samples(frames, dict.fromkeys(people, 0))  # refuses one person under two names
        parts = protocol.make_folds(frames, people)
        results: dict[tuple[str, str], tuple[Predictions, Score]] = {}
        for name in features:
            feature = feature_named(name, protocol.components)
            if feature.source not in found.samples.sources:
                continue
            if progress:
                progress(f"{name}: {len(found.samples)} frames, {len(parts)} folds")
            answers = cross_validate(found.samples, parts, feature, classifiers)
            results |= {(name, c): (a, score(a, protocol.seed)) for c, a in answers.items()}
    classes = sorted({str(label) for label in found.samples.labels})
    record = protocol.record(
        "expressions",
        parts,
        [*frames.messages, *found.messages],
        classes=classes,
        neutral_known=neutral_known,
        frames="apex",
    )
    return write_classification(output, record, parts, results)
