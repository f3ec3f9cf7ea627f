"""The end of a run: the release, packed of all that the stages made."""

from __future__ import annotations

import glob
import json
import os
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py

from mimicme.pipeline.config import settings_record
from mimicme.pipeline.errors import MimicmeError, ReleaseError, UsageError, counted, listed, out_of
from mimicme.pipeline.items import Item, Sequence
from mimicme.pipeline.numerics.memory import hold_blas_buffers
from mimicme.pipeline.run.account import Account
from mimicme.pipeline.run.outcomes import Outcomes
from mimicme.pipeline.run.plan import RELEASE, WITHDRAWN, Plan, described, nobody_left, release_fingerprint
from mimicme.pipeline.run.pool import Pool, side_by_side
from mimicme.pipeline.run.progress import duration
from mimicme.pipeline.run.run_types import RunOptions, StageResult
from mimicme.pipeline.run.tallies import rejected_by
from mimicme.pipeline.run.work import failed_outcome, sentence_of
from mimicme.pipeline.stage import Stage
from mimicme.pipeline.workspace import Workspace

_RUNS_LOOKED_AT = 50
"""The newest, for the settings that a release was made with."""


class Releasing:
    """Packs the release, where it is not current.

    Args:
        account: takes up what became of it.

    Attributes:
        release: path of the release, when it was made or is current.
        packed: whether it was written now.
        verified: names of its shards that nobody touched since an earlier run verified them.
        left: the sequences that left it because their captures are not there any more, in words; empty: none.
        created, wanted: its time, and the fingerprint of what would make it; empty while it was not looked at.
    """

    def __init__(
        self, plan: Plan, options: RunOptions, account: Account, outcomes: Outcomes, pool: Pool
    ) -> None:
        self._plan, self._options, self._account = plan, options, account
        self._outcomes, self._pool = outcomes, pool
        self._workspace, self._console, self._log = plan.workspace, account.console, outcomes.log
        self._requested = account.selection.requested
        self.release: Path | None = None
        self.packed = False
        self.verified: tuple[str, ...] = ()
        self.left = ""
        self._gone: Mapping[Item, int] = {}
        self.created = self.wanted = ""

    def run(self, stage: Stage) -> None:
        """Bring the release up to date, and say what became of it.

        Raises:
            UsageError: there is nothing for it, and nothing else was asked for.
        """
        output = self._options.output or self._workspace.release
        try:
            self._run(stage, output)
        finally:
            self._tell_who_left(stage, output)

    def _without_captures(self, stage: Stage, output: Path) -> Mapping[Item, int]:
        """The sequences of the workspace's release whose captures are not there any more, with their frames that are
        ok.  Not those of people whom the table does not let in, as who took consent back: nothing is to name them."""
        own = os.path.realpath(output) == os.path.realpath(self._workspace.release)
        if stage.ok_frames is None or not own or not output.is_file():
            return {}
        try:
            there = stage.ok_frames(output)
            gone = there.keys() - self._listed_items()
            people = {item.subject for item in gone}
            unnamed = self._workspace.kept_out(people) if gone else frozenset()
        except (MimicmeError, OSError, MemoryError):  # what packs it says what is wrong with it
            return {}
        return {item: there[item] for item in sorted(gone, key=str) if item.subject not in unnamed}

    def _tell_who_left(self, stage: Stage, output: Path) -> None:
        """Note which of the sequences whose captures are not there any more are not in the release any more."""
        gone = self._gone
        if not gone or not self.packed or stage.ok_frames is None:
            return
        with suppress(MimicmeError, OSError, MemoryError):
            left = sorted(gone.keys() - stage.ok_frames(output).keys(), key=str)
            if left:
                frames = counted(sum(gone[item] for item in left), "frame")
                their = "its captures are" if len(left) == 1 else "their captures are"
                self.left = (
                    f"{counted(len(left), 'sequence')} ({frames}) left {output.name}, because {their} not there any "
                    f"more: {listed(map(str, left), 5)}"
                )
                self._log.write("left the release", why=self.left)

    def _run(self, stage: Stage, output: Path) -> None:
        result = StageResult(stage.name)
        began, cpu_began = time.monotonic(), time.process_time()
        created = self._plan.created(self._requested)
        wanted = self._plan.release_wanted(stage, self._requested, created)
        current = output.is_file() and release_fingerprint(output) == wanted
        self._gone = {} if current else self._without_captures(stage, output)
        unread: Exception | None = None
        lost: dict[Item, str] = {}
        try:
            lost = {} if current else lost_results(self._plan, self._options, self._requested, stage, output)
        except Exception as error:  # whatever it is: the run is told of to its end
            unread = error
        if not lost and unread is None and not self._has_inputs(stage, output):
            return
        self._log.write("stage begins", stage=stage.name, items=False)
        self.created, self.wanted = created, wanted
        if lost or unread is not None:
            self._failed(
                stage,
                unread or kept_as_it_was(self._plan, self._options, self._requested, stage, output, lost),
                result,
                began,
            )
            self._account.lacks(f"{output.name} kept as it was")
            self._keep(stage, output)
            return
        if current and not self._options.force:
            self._workspace.failure(stage.name, RELEASE).unlink(missing_ok=True)  # its cause is gone
            result.skipped = 1
        else:
            self._console.draw(f"{stage.name}: writing {output.name}", now=True)
            try:
                packed = self._pack(stage, output, created, wanted)
            except UsageError:
                self._keep(stage, output)
                raise
            except Exception as error:  # recorded like the failure of any item
                self._failed(stage, error, result, began)
                self._keep(stage, output)
                return
            self._workspace.failure(stage.name, RELEASE).unlink(missing_ok=True)
            result.done = 1
            self.packed, self.verified = True, getattr(packed, "verified", ())
            result.frames_ok = getattr(packed, "ok", 0)
            result.frames_rejected = getattr(packed, "rejected", 0)
            self._tell_of_not_begun(stage, result.frames_rejected)
            for message in getattr(packed, "messages", ()):
                self._console.say(message)
            for why in getattr(packed, "excluded", {}).values():
                self._console.say(why)
        self._tell_of_rejected(stage)
        self.release = output
        result.seconds, result.cpu_s = time.monotonic() - began, time.process_time() - cpu_began
        self._account.results.append(result)
        self._log.write(
            "stage ends",
            stage=stage.name,
            items=False,
            done=result.done,
            skipped=result.skipped,
            seconds=round(result.seconds, 3),
        )
        word = "written" if result.done else "is current"
        self._console.say(f"{stage.name}: {output} {word}; {duration(result.seconds)}")

    def _failed(self, stage: Stage, error: Exception, result: StageResult, began: float) -> None:
        # without a record of what would have made it: of a large database it takes half a gigabyte, and nobody reads it
        self._outcomes.failure(stage, RELEASE, failed_outcome(error, began), {}, result)
        self._account.stage_over(self._plan, stage, result)

    def _keep(self, stage: Stage, output: Path) -> bool:
        """See to it that a release that was not packed anew holds nobody who left meanwhile; whether that was seen to,
        or said to be impossible."""
        if stage.keep is None or not output.is_file():
            return False
        own = os.path.realpath(output) == os.path.realpath(self._workspace.release)  # however it is spelled
        try:
            kept = stage.keep(
                path=output,
                who_stays=self._who_stays(own),
                subjects=self._workspace.metadata() if own else None,
                mark=WITHDRAWN,
                what_stays=self._listed_items().intersection if own else None,
            )
        except Exception as error:  # whatever it is: somebody has to know
            self._account.lacks(f"{output.name} may hold who is left out now")
            self._console.say(
                f"{stage.name}: {output.name} may hold who is left out now, and could not be written without them "
                f"({sentence_of(error)}): delete it, or `mimicme withdraw` them."
            )
            return True
        if kept.left:
            self._console.say(
                f"{stage.name}: {counted(kept.left, 'subject')} left {output.name}: withdrawn, refused, or no longer "
                "among the captures."
            )
        if kept.sequences:
            self._console.say(
                f"{stage.name}: {counted(kept.sequences, 'sequence')} left {output.name}: no longer among the captures."
            )
        if kept.changed:
            self._console.say(
                f"{stage.name}: {output.name} says of {counted(kept.changed, 'subject')} what the table of subjects "
                "says now."
            )
        if kept.left or kept.sequences or kept.changed:
            self.release, self.packed = output, True
        return True

    def _listed_items(self) -> frozenset[Item]:
        """The sequences that are among the captures, also those that wait for the order of their frames to be clear."""
        catalogue = self._plan.catalogue
        return frozenset((*(sequence.item for sequence in catalogue.sequences), *catalogue.unclear))

    def _who_stays(self, own: bool) -> Callable[[Collection[str]], Collection[str]]:
        """Who of some people may be in a release: of the workspace's own, who is listed; of another one, of which this
        run may know some alone, whoever has not withdrawn here and is not refused."""
        workspace, catalogue = self._workspace, self._plan.catalogue
        listed = frozenset(item.subject for item in self._listed_items())
        refused = {*catalogue.captured, *workspace.metadata().without_captures} - listed

        def stays(there: Collection[str]) -> Collection[str]:
            if own:
                return listed.intersection(there)
            return [one for one in there if one not in refused and not workspace.is_withdrawn(one)]

        return stays

    def _tell_of_not_begun(self, stage: Stage, rejected: int) -> None:
        """Note how many of the frames that are rejected in the release no stage has looked at to the end so far: they
        are there without vertices, as what was rejected is, and nothing is wrong with them."""
        shaping = [s for s in self._plan.stages if s.name in stage.needs and s.shapes]
        waiting = 0
        for sequence in self._requested:
            item = sequence.item
            if item.subject in self._plan.settled:
                continue
            states = [self._plan.states[s.name, item].state for s in shaping]
            if "failed" in states or not ("pending" in states or "blocked" in states):
                continue
            blocked = (s for s, state in zip(shaping, states, strict=True) if state == "blocked")
            if any(self._plan.waits_for_failed(s, item) for s in blocked):
                continue
            # the last one's alone: what a stage rejects stays rejected in all after it
            done = [s for s, state in zip(shaping, states, strict=True) if state == "done"][-1:]
            waiting += len(sequence.frames) - sum(rejected_by(self._plan, s, [sequence]) for s in done)
        if waiting:
            verbs = ("rejected in the release is", "rejected in the release are")
            self._account.wrong.append(f"{out_of(waiting, rejected, 'frame', verbs=verbs)} not yet worked on")

    def _tell_of_rejected(self, stage: Stage) -> None:
        """Note the frames that stages rejected of which nothing was told in this run; not those that a person called
        bad."""
        if self._account.results:
            return
        others = [s for s in self._plan.stages if s.name in stage.needs]
        if most := max(
            (rejected_by(self._plan, s, self._requested, with_bad=False) for s in others), default=0
        ):
            self._account.wrong.append(f"{counted(most, 'frame')} rejected by the stages before")

    def _has_inputs(self, stage: Stage, output: Path) -> bool:
        """Whether there is something for a release; says which sequences go in as they are.

        Where there is nothing, who must not be in the release that is there leaves it.

        Raises:
            UsageError: there is nothing, and nothing else was asked for.
        """
        requested = self._requested
        # what failed earlier in this run, or is out of date, is not among the collected checkpoints
        missing = sorted(
            {
                str(sequence.item)
                for sequence in requested
                if sequence.item.subject not in self._plan.settled
                for need in stage.needs
                if self._plan.states[need, sequence.item].state != "done"
            }
        )
        if missing:
            self._account.lacks(
                f"{out_of(len(missing), len(requested), 'sequence')} not complete in the release"
            )
            they = "and goes in as it is" if len(missing) == 1 else "and go in as they are"
            incomplete = out_of(
                len(missing), len(requested), "sequence", verbs=("is not complete", "are not complete")
            )
            self._console.say(f"{stage.name}: {incomplete} {they}: {listed(missing, 3)}")
        if len(missing) < len(requested) or any(self._plan.collected(stage, s) for s in requested):
            return True
        if requested:
            why, todo = "nothing of it is there", "Run `mimicme run` first."
        else:
            why, todo = nobody_left(self._workspace), None
        kept = self._keep(stage, output)
        if stage is self._account.chosen[0]:
            raise UsageError(f"there is nothing to {stage.name}: {why}", todo=todo)
        self._account.lacks("no release written")
        self._console.say(f"{stage.name}: no release is written, because {why}.")
        if not kept and (old := self._plan.older_release(output)):
            self._console.say(old)
        return False

    def _pack(self, stage: Stage, output: Path, created: str, fingerprint: str) -> Any:
        from mimicme.pipeline.template import load_prepared

        hold_blas_buffers()
        collect = stage.collect or _Collected
        inputs = [collect(s, self._plan.collected(stage, s)) for s in self._requested]
        output.parent.mkdir(parents=True, exist_ok=True)
        real = Path(os.path.realpath(output))
        for stale in real.parent.glob(f".{glob.escape(real.name)}.*.tmp"):  # of a run that was killed
            stale.unlink(missing_ok=True)
        assert stage.everything is not None
        workspace = self._workspace
        return stage.everything(
            inputs=inputs,
            settings=self._plan.config.stages[stage.name],
            template=load_prepared(workspace.template) if stage.uses_template else None,
            captures=workspace.captures,
            subjects=workspace.metadata(),
            output=output,
            created=created,
            config_json=json.dumps(self._plan.release_config(), sort_keys=True),
            fingerprint=fingerprint,
            stages=tuple(s for s in self._plan.stages if s.name in stage.needs),
            licence=workspace.licence,
            force=self._options.force,
            side_by_side=lambda work, jobs: side_by_side(self._pool, work, jobs),
            remembered=workspace.packed,
        )


@dataclass(frozen=True)
class _Collected:
    """An input of a stage of scope `everything` that brings no type of its own."""

    sequence: Sequence
    checkpoints: Mapping[str, Path]


def lost_results(
    plan: Plan,
    options: RunOptions,
    requested: Iterable[Sequence],
    stage: Stage,
    output: Path,
    made_first: Collection[str] = (),
) -> dict[Item, str]:
    """The sequences of which the release that is there would lose results that are not there now, and which stage lacks
    one, in words.

    Args:
        requested: the sequences of the release.
        made_first: names of the stages that would be run before it is packed: what they lack they may make.

    Raises:
        ReleaseError, OSError, MemoryError: what it has cannot be read now, and may be whole.
    """
    if stage.held is None or options.allow_missing or not output.is_file():
        return {}
    needs = [name for name in stage.needs if name not in made_first]
    lacking = {
        sequence.item: [name for name in needs if plan.states[name, sequence.item].state != "done"]
        for sequence in requested
        if sequence.item.subject not in plan.settled
    }
    held = stage.held(output, [item for item, names in lacking.items() if names])
    lost = {}
    for item, made_by in held.items():
        if name := next((n for n in lacking[item] if made_by is None or n in made_by), None):
            state = plan.states[name, item]
            why = f": {state.reason}" if state.state == "stale" and state.reason else ""
            lost[item] = f"'{name}' {described(state)}{why}"
    return lost


def kept_as_it_was(
    plan: Plan,
    options: RunOptions,
    requested: Iterable[Sequence],
    stage: Stage,
    output: Path,
    lost: Mapping[Item, str],
) -> ReleaseError:
    """That a release is kept as it is, why, and what to do.

    Args:
        requested: the sequences of the release.
        lost: some of them; see `lost_results`.
    """
    workspace = plan.workspace
    only = [word for one in options.only for word in ("--only", one)]
    outdated = [
        any(plan.states[n, item].state == "stale" for n in stage.needs)
        and all(plan.states[n, item].state in ("stale", "done") for n in stage.needs)
        for item in lost
    ]
    has = "has" if len(lost) == 1 else "have"
    if all(outdated):
        settings, given = _other_settings(plan, stage, output)
        of = (
            "they were made with other settings than those given now"
            if settings
            else "made of something else"
        )
        how = f"whose results are out of date: {of}"
    else:
        settings, given = False, None
        how = f"that {has} no result now" + (", or one that is out of date" if any(outdated) else "")
    run = workspace.command("run")
    advice = [f"`{run}` makes what is not there or out of date, says what fails and why, and packs."]
    if given is not None:
        as_made = workspace.command(stage.name, *only, given=given)
        advice.insert(0, f"`{as_made}` packs it with the settings that it was made with.")
    elif settings:
        advice.insert(0, "Give the settings that it was made with again (--preset, --set), or:")
    complete = (
        s.item.subject in plan.settled or all(plan.states[n, s.item].state == "done" for n in stage.needs)
        for s in requested
        if s.item not in lost
    )
    if any(complete):  # else it would be a release of nothing
        command = workspace.command(stage.name, "--allow-missing", *only)
        advice.append(f"To do without these frames: `{command}`.")
    if options.output:
        advice.append("Each with the --output that it had.")
    return ReleaseError(
        f"{output.name} is kept as it was: it has frames of {counted(len(lost), 'sequence')} {how}",
        seen=listed([f"{item}: {why}" for item, why in lost.items()], 3),
        todo=" ".join(advice),
    )


def _other_settings(plan: Plan, stage: Stage, output: Path) -> tuple[bool, tuple[str, ...] | None]:
    """Whether what a release is made of was made with other settings than this run's, and what an earlier run was
    given that had them; None where no run of late had them."""
    made = _settings_of(output)
    now = {
        n: record["settings"] for n, record in json.loads(json.dumps(plan.release_config()))["stages"].items()
    }
    if made is None or all(made.get(name) == now[name] for name in stage.needs):
        return False, None
    workspace = plan.workspace
    tried = {workspace.overrides_but_consent}
    for run in reversed(workspace.runs()[-_RUNS_LOOKED_AT:]):
        given = workspace.overrides_of(run)
        if given in tried:
            continue
        tried.add(given)
        try:
            stages = Workspace.open(workspace.root, sets=given).config(plan.stages).stages
        except MimicmeError:  # not understood any more
            continue
        # by way of JSON, as the release has them
        then = json.loads(json.dumps({name: settings_record(stages[name]) for name in stage.needs}))
        if all(made.get(name) == then[name] for name in stage.needs):
            return True, given
    return True, None


def _settings_of(output: Path) -> dict[str, Any] | None:
    """The settings of the stages that made a release; None where it does not say them."""
    try:
        with h5py.File(output, "r") as handle:
            stages = json.loads(handle.attrs["config"])["stages"]
            return {name: record["settings"] for name, record in stages.items()}
    except (OSError, KeyError, ValueError, TypeError, AttributeError):
        return None
