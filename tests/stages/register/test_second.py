"""repass: what it learns from, whose neutral counts, and what it leaves alone."""

from __future__ import annotations

import dataclasses

import h5py
import numpy as np
import pytest

from mimicme.pipeline.checkpoint import Artefact, FrameStatus, writing
from mimicme.pipeline.errors import ConfigError
from mimicme.pipeline.stage import Captures, Item, Sequence, Task, newest
from mimicme.pipeline.template import save_prepared
from mimicme.stages.register import RegisterSettings
from mimicme.stages.register.second import STAGE, RepassSettings, gathered, neutrals
from mimicme.stages.register.track import Registered

LOST = FrameStatus(False, "register-misfit", "", "lost")


def write_register(dome, path, results, neutral=None, statuses=None, item="A/x"):
    """An artefact of `register` with these `Registered`; `neutral` (V, 3): it found its own."""
    path.parent.mkdir(parents=True, exist_ok=True)
    record = {"settings": dataclasses.asdict(dome.SETTINGS)}
    with writing(path, stage="register", item=item, made_by=record) as out:
        out.frames([r.number for r in results], statuses)
        vertices = out.rows("vertices", results[0].vertices.shape, np.float32, "mm")
        pose = out.rows("pose", (4, 4), np.float64, "mm")
        out.attrs["personal_template"] = neutral is None
        for row, result in enumerate(results):
            vertices[row], pose[row] = result.vertices, result.pose
            for name, value in dataclasses.asdict(result.quality).items():
                if row == 0:
                    out.rows(f"quality/{name}", (), np.float32, "1")
                out._h5[f"quality/{name}"][row] = value
        if neutral is not None:
            out.array("neutral", neutral, "mm")
    return path


@pytest.fixture(scope="module")
def corpus(dome, tmp_path_factory):
    """Three subjects: a neutral and three frames of the same motion each; paths by item."""
    root = tmp_path_factory.mktemp("corpus")
    quality = dome.tracker(dome.truth(0.0)).register(dome.frame(0, 0.0)).quality
    checks = None
    paths = {}
    for subject, shift in (("A", 0.0), ("B", 2.0), ("C", -3.0)):
        neutral = dome.truth(0.0) + [0, shift, 0]
        calm = [Registered(0, neutral, np.eye(4), quality, checks)]
        item = Item(subject, "neutral")
        paths[item] = write_register(dome, root / subject / "neutral.h5", calm, neutral)
        moving = [
            Registered(k, dome.truth(a) + [0, shift, 0], np.eye(4), quality, checks)
            for k, a in enumerate((0.4, 0.8, 1.2))
        ]
        item = Item(subject, "scream")
        states = [FrameStatus(), LOST if subject == "C" else FrameStatus(), FrameStatus()]
        paths[item] = write_register(dome, root / subject / "scream.h5", moving, statuses=states)
    return paths


def test_each_displacement_is_from_its_own_subjects_neutral(dome, corpus):
    assert set(neutrals(corpus)) == {Item(s, "scream") for s in "ABC"}
    index = dome.levels().coarse.index
    subjects, shapes = gathered(corpus, index, 5)
    assert subjects == ["A", "A", "A", "B", "B", "B", "C", "C"]  # a rejected frame teaches nothing
    for shape, amount in zip(shapes, [0.4, 0.8, 1.2, 0.4, 0.8, 1.2, 0.4, 1.2], strict=True):
        expected = (dome.truth(amount) - dome.truth(0.0))[index]
        assert np.abs(shape - expected).max() < 1e-4
    assert gathered(corpus, index, 1)[0] == ["A", "B", "C"]


def test_a_sequence_with_a_neutral_of_its_own_teaches_nothing(corpus):
    alone = {item: path for item, path in corpus.items() if item != Item("B", "neutral")}
    assert set(neutrals(alone)) == {Item("A", "scream"), Item("C", "scream")}


@pytest.fixture(scope="module")
def ran(dome, corpus, tmp_path_factory):
    """Runs the stage on a noisy frame of another subject, D; `given` replaces what it has learnt from."""
    root = tmp_path_factory.mktemp("stage")
    frame = dome.frame(0, 0.9, landmark_noise_mm=1.5)
    first = dome.tracker(dome.truth(0.0)).register(frame)
    save_prepared(dome.template(), root / "template.h5")
    own = {
        Item("D", "neutral"): write_register(
            dome, root / "n.h5", [dataclasses.replace(first, vertices=dome.truth(0.0))], dome.truth(0.0)
        ),
        Item("D", "x"): write_register(dome, root / "register.h5", [first]),
    }
    item = Item("D", "x")
    with writing(root / "ingest.h5", stage="ingest", item=str(item), made_by={}) as out:
        out.frames([0])
        out.ragged("vertices", np.float32, (3,), "mm") if False else None
    return root, frame, first, own


def test_switched_off_it_writes_no_vertices_and_the_registered_ones_hold(ran, tmp_path):
    root, _, _, own = ran
    path = own[Item("D", "x")]
    task = Task(
        Sequence(Item("D", "x"), "x", "x", ()), RepassSettings(), Captures(root), {"register": path},
        None, root / "template.h5",
    )  # fmt: skip
    with writing(tmp_path / "off.h5", stage="repass", item="D/x", made_by={}) as out:
        STAGE.compute(task, out)
    with h5py.File(tmp_path / "off.h5") as made:
        assert "vertices" not in made
        assert made["frame"][:].tolist() == [0]
    assert newest({"register": path, "repass": tmp_path / "off.h5"}) == path
    assert newest({"register": path, "repass": path}) == path


def test_settings_out_of_range_are_refused():
    with pytest.raises(ConfigError, match=r"repass\.frames"):
        RepassSettings(frames=0)
