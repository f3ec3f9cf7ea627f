"""The prepared template of a workspace, and whether it is still that of what is declared."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from mimicme.pipeline.errors import InputError, MissingDependencyError
from mimicme.pipeline.whole_file import write_whole
from mimicme.pipeline.workspace.declaration import Declaration

if TYPE_CHECKING:
    from mimicme.pipeline.template import Template


class PreparedTemplate:
    """The template as a workspace keeps it: `template.h5`, and in `source.json` what that was prepared from."""

    def __init__(self, folder: Path, declaration: Declaration) -> None:
        self.file = folder / "template.h5"
        self._record = folder / "source.json"
        self._declaration = declaration

    @property
    def source(self) -> str:
        """The declared template: `menpo3d` or the path of a file."""
        file = self._declaration.own.template.file
        path = self._declaration.path(file)
        return str(path) if path.exists() or "/" in file or "." in file else file

    def source_digest(self) -> str:
        """Digest of what the template is, or would be, prepared from.

        Raises:
            InputError, MissingDependencyError: see `digest`.
        """
        from mimicme.pipeline.template import template_source_digest

        try:
            return template_source_digest(self.source)
        except (InputError, MissingDependencyError):
            if self.digest() is None:
                raise
            return str(json.loads(self._record.read_text())["source"])

    def digest(self) -> str | None:
        """Digest of the prepared template; None when it must be prepared (again).

        A prepared template whose source is gone stays good, as long as the settings still name that source.

        Raises:
            InputError, MissingDependencyError: the settings name another source, which cannot be read.
        """
        from mimicme.pipeline.template import template_source_digest

        try:
            record = json.loads(self._record.read_text())
            made_from, digest = record["source"], str(record["digest"])
        except (OSError, ValueError, KeyError, TypeError):
            return None
        try:
            source = template_source_digest(self.source)
        except (InputError, MissingDependencyError):
            if record.get("declared") != self._declaration.own.template.file:
                raise
            source = made_from
        return digest if source == made_from and self.file.is_file() else None

    def vertices(self) -> int:
        """How many vertices the prepared template has; 0 where none can be read."""
        from mimicme.pipeline.template import prepared_vertex_count

        return prepared_vertex_count(self.file)

    def prepare(self) -> Template:
        """Prepare the template anew.

        Raises:
            InputError, MissingDependencyError: see `template.prepare`.
        """
        from mimicme.pipeline.template import prepare, save_prepared, template_source_digest

        source = template_source_digest(self.source)
        template = prepare(self.source)
        save_prepared(template, self.file)
        record = {
            "declared": self._declaration.own.template.file,
            "source": source,
            "digest": template.digest,
        }
        write_whole(self._record, json.dumps(record) + "\n")
        return template
