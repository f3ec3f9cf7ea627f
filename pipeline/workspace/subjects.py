"""Whom the declared table of subjects lets in, and what it says of them."""

from __future__ import annotations

import glob
import hashlib
import json
import shlex
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from mimicme.pipeline.captures.layouts import safe_name
from mimicme.pipeline.workspace.declaration import Declaration
from mimicme.pipeline.workspace.withdrawn import Withdrawn

if TYPE_CHECKING:
    from mimicme.pipeline.captures.metadata import SubjectTable


class DeclaredSubjects:
    """The table of subjects that a workspace declares, read once: who is left out and what is said of the others
    agree."""

    def __init__(self, declaration: Declaration, withdrawn: Withdrawn) -> None:
        self._declaration = declaration
        self._withdrawn = withdrawn
        self._table: SubjectTable | None = None
        self._read = b""

    @property
    def file(self) -> Path | None:
        """The table's file; None where none is declared."""
        file = self._declaration.own.metadata.file
        return self._declaration.path(file) if file else None

    def matched(self, captured: Iterable[str]) -> SubjectTable:
        """The table by the names of the captures' folders; empty where none is declared.

        Raises:
            InputError: it cannot be used.
        """
        from mimicme.pipeline.captures.consent import ConsentRules
        from mimicme.pipeline.captures.metadata import SubjectTable, read_subjects

        file, own = self.file, self._declaration.own
        if self._table is None:
            self._read = self._bytes_now()
            rules = ConsentRules(
                own.captures.consent_yes, own.captures.consent_missing, own.captures.not_same
            )
            self._table = read_subjects(file, rules, own.metadata.columns) if file else SubjectTable()
        return self._table.matched(captured, self._withdrawn.asked())

    def refused(self, captured: Iterable[str]) -> dict[str, str]:
        """Captured subjects whom the table keeps out, with what a user should know of it.

        Raises:
            InputError: see `matched`.
        """
        return {
            subject: self._advised(subject, why) for subject, why in self.matched(captured).excluded.items()
        }

    def _advised(self, subject: str, why: str) -> str:
        """A sentence on who is left out, with what that means and what can be done."""
        from mimicme.pipeline.captures.consent import UNCLEAR

        root = self._declaration.root
        made = any(path.is_dir() for path in root.glob(f"*/{glob.escape(safe_name(subject))}"))
        before = (
            f" What was made of it before stays until `mimicme withdraw {shlex.quote(str(root))} "
            f"{shlex.quote(subject)}`, which cannot be undone."
        )
        or_say = ", or let `consent_yes` in [captures] name a word that is a yes" if UNCLEAR in why else ""
        now = f"Nothing is made from it, shown or packed; if that is wrong, change the table{or_say}."
        return f"{why} {now}{before if made else ''}"

    def digest_now(self) -> str:
        """SHA-256 of the table's file as it is now and of what its columns are."""
        columns = json.dumps(self._declaration.own.metadata.columns, sort_keys=True)
        return hashlib.sha256(self._bytes_now() + columns.encode()).hexdigest()

    def digest_read(self, named: Mapping[str, Mapping[str, str]]) -> str:
        """SHA-256 of the table's file as it was read, of what its columns are, and of what names of captures say of
        people; empty when none is declared or it cannot be read, and names say nothing."""
        columns = self._declaration.own.metadata.columns
        of_columns = json.dumps(columns, sort_keys=True).encode() if columns else b""
        by_names = json.dumps(named, sort_keys=True).encode() if named else b""
        # of what was read, not of what was written since: the release is made of that
        read = self._bytes_now() if self._table is None else self._read
        table = read + of_columns if read else b""
        return hashlib.sha256(table + by_names).hexdigest() if table or by_names else ""

    def _bytes_now(self) -> bytes:
        """The table's file; empty where there is none, or none that can be read."""
        file = self.file
        try:
            return file.read_bytes() if file else b""
        except OSError:
            return b""
