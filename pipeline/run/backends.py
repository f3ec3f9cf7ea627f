"""Where the jobs of a run are worked on: in this process, in workers of this machine, or on those of a scheduler."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from mimicme.pipeline.errors import ConfigError
from mimicme.pipeline.run.dask_pool import DaskPool
from mimicme.pipeline.run.pool import InProcessPool, LokyPool, Pool


def make_pool(
    jobs: int,
    backend: str = "loky",
    scheduler: str | None = None,
    limit_s: Callable[[Any], float] = lambda job: math.inf,
    say: Callable[[str], None] = lambda _: None,
) -> Pool:
    """A pool.

    Args:
        limit_s: seconds that a job may take; only loky's workers are held to it.
        jobs: number of worker processes; 0: work in this process (for a debugger; a crash then ends the run).
        backend: `loky` or `dask`.
        scheduler: address of the dask scheduler.
        say: is told of dask's workers that are not used.

    Raises:
        ConfigError: arguments that do not fit.
        MissingDependencyError: dask is asked for and not installed.
    """
    if backend not in ("loky", "dask"):
        raise ConfigError(
            "there is no such backend", where="--backend", seen=backend, expected="loky or dask"
        )
    if jobs < 0:
        raise ConfigError("the number of jobs cannot be negative", where="--jobs", seen=jobs)
    if backend == "dask":
        if not scheduler:
            raise ConfigError(
                "the dask backend needs --scheduler ADDRESS", expected="as in tcp://127.0.0.1:8786"
            )
        return DaskPool(scheduler, say)
    if scheduler:
        raise ConfigError("--scheduler goes with --backend dask")
    return InProcessPool() if jobs == 0 else LokyPool(jobs, limit_s)
