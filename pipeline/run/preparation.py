"""What comes before the stages: whether a process may have the memory that they take, and the prepared template."""

from __future__ import annotations

import time

from mimicme.pipeline.config import Config
from mimicme.pipeline.numerics.memory import (
    LEAST_BYTES,
    address_space_mb,
    hold_blas_buffers,
    refuse_too_little,
)
from mimicme.pipeline.run.progress import Console, duration
from mimicme.pipeline.run.run_types import RunOptions
from mimicme.pipeline.stage import Stage, is_off
from mimicme.pipeline.workspace import Workspace


class Preparation:
    """Prepares the template and asks for memory, once each, where the stages need it.

    Args:
        config: the settings.
        chosen: the stages of the run.
    """

    def __init__(
        self,
        workspace: Workspace,
        config: Config,
        options: RunOptions,
        chosen: tuple[Stage, ...],
        console: Console,
    ) -> None:
        self._workspace, self._config, self._options = workspace, config, options
        self._chosen, self._console = chosen, console
        self._uses_template = any(stage.uses_template for stage in chosen)
        self._asked_for: set[str] = set()  # the stages of which an item was to be made
        self._told_mb = 0.0

    def template(self) -> str | None:
        """Digest of the prepared template; prepared here, once, before there are workers.

        Raises:
            UsageError: it has to be prepared, and a process may not have the memory.
        """
        known = self._workspace.template_digest()
        if known is not None or not self._uses_template:
            return known
        with self._workspace.template_lock(
            lambda: self._console.say("Another shard prepares the template; waiting for it.")
        ):
            known = self._workspace.template_digest()
            return self._prepared() if known is None else known

    def _prepared(self) -> str:
        self._refuse_too_little()
        self._console.say("Preparing the template, once ...")  # half a minute, and minutes of a large one
        began = time.monotonic()
        hold_blas_buffers()
        template = self._workspace.prepare_template()
        self._console.say(f"Template '{template.name}' prepared in {duration(time.monotonic() - began)}.")
        for note in template.notes:
            self._console.say(f"  template, {note}")  # the captures' units and axes are told of below
        return template.digest

    def ask_for_memory(self, stage: Stage) -> None:
        """To be called before an item of a stage is made.

        Raises:
            UsageError: a process may not have what the libraries of the chain take.
        """
        if not self._uses_template or stage.name in self._asked_for:
            return
        if not self._asked_for:
            self._refuse_too_little()
        self._asked_for.add(stage.name)
        self._say_too_little(self._chosen[self._chosen.index(stage) :])

    def _say_too_little(self, coming: tuple[Stage, ...]) -> None:
        """Where a process may begin, and not have what a stage takes of this template with these settings: that would
        else be found out item by item, at night.  What takes no more than what was told of is not told of again.

        Args:
            coming: the stages that run now: what comes before them is there.
        """
        limit = None if self._options.backend == "dask" else address_space_mb()
        vertices = self._workspace.template_vertices()
        if limit is None or not vertices:
            return
        working = [one for one in coming if one.takes and not is_off(self._config.stages[one.name])]
        taken = {one.name: one.takes(self._config.stages[one.name], vertices) for one in working if one.takes}
        most = max(taken, key=lambda name: taken[name], default="")
        needed = (LEAST_BYTES >> 20) + taken.get(most, 0.0)
        if limit < needed and needed > self._told_mb:
            self._told_mb = needed
            self._console.say(
                f"A process may have {limit:,} MB of address space here, and '{most}' takes about {needed:,.0f} MB of "
                f"a template of {vertices:,} vertices with these settings, of large scans more: sequences may fail "
                "there for want of memory. Allow more (`ulimit -v`, or what the batch system calls virtual memory)."
            )

    def _refuse_too_little(self) -> None:
        """Before anything that takes the libraries of the chain is begun, here or in workers, which inherit the limit.

        Raises:
            UsageError: a process may not have what they take.
        """
        if self._options.backend != "dask":  # its workers are wherever somebody started them
            refuse_too_little()
