"""What `verify` says of a release, and what is asked of it by names that people use."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from pathlib import Path

from mimicme.commands.verify import Alias, Finding, all_said, apart, has_errors
from mimicme.commands.verify.absent import known_here
from mimicme.commands.verify.checks import CHECKS
from mimicme.pipeline.captures.layouts import safe_name
from mimicme.pipeline.errors import counted
from mimicme.pipeline.privacy.pseudonyms import key_mark, key_of, pseudonym


def findings_of(
    release: Path,
    every_image: bool = False,
    absent: str = "",
    key: Path | None = None,
    but: Collection[str] = (),
) -> list[Finding]:
    """What is found in a release.

    Args:
        absent: a subject of whom nothing may be left, as its folder is called.
        key: file with the key of the pseudonyms: the subject is looked for under its own, too.
        but: names of shards that are not looked into.

    Raises:
        ReleaseError: it cannot be looked at.
        UsageError: the key cannot be read.
    """
    # a release spells subjects as `init` does, not as folders are called
    absent = safe_name(absent) if absent else ""
    alias = None
    if key is not None:
        secret = key_of(key)
        alias = Alias(pseudonym(secret, absent), key_mark(secret))
    return apart.verify_apart(release, every_image=every_image, absent=absent, alias=alias, but=but)


def say_verified(
    release: Path,
    say: Callable[[str], None],
    every_image: bool = False,
    absent: str = "",
    key: Path | None = None,
) -> bool:
    """Verify a release and say what was found; whether it is usable.

    Raises:
        ReleaseError, UsageError: see `findings_of`.
    """
    usable = say_findings(release, findings_of(release, every_image, absent, key), say)
    if absent and usable:  # else nobody can say that nothing is there
        say(known_here(release, safe_name(absent)))
    return usable


def say_findings(
    release: Path,
    findings: Sequence[Finding],
    say: Callable[[str], None],
    n_before: int = 0,
    quiet: bool = False,
) -> bool:
    """Say what was found in a release, quietly only where it is not usable; whether it is.

    Args:
        n_before: shards that were not looked into again.
    """
    known = all_said(findings)
    if quiet and known and not has_errors(findings):
        return True
    for finding in findings:
        say(str(finding))
    for name in dict.fromkeys(one.check for one in findings if one.check and one.level == "error"):
        say(f"[{name}] {CHECKS[name].promise} {CHECKS[name].todo}")
    errors = {finding.check for finding in findings if finding.level == "error"}
    said = (
        "somebody who is to be absent is in it"
        if errors == {"absent"}
        else "not usable"
        if has_errors(findings)
        else "verified"
        if known
        else "nothing is wrong that was looked at"
    )
    before = (
        f"; {counted(n_before, 'shard')} that nothing touched {'was' if n_before == 1 else 'were'} before"
        if n_before
        else ""
    )
    say(f"{release}: {said}{before}{'' if known else '; not all that was asked can be said'}")
    return known and not has_errors(findings)


def by_shard(findings: Iterable[Finding]) -> dict[str, list[tuple[str, str, str]]]:
    """What was said of each shard, as place, sentence and check; a finding has the shard's name before the place."""
    found: dict[str, list[tuple[str, str, str]]] = {}
    for one in findings:
        name, colon, _ = one.where.partition(":")
        if colon:
            found.setdefault(name, []).append((one.where, one.message, one.check))
    return found
