"""The list of who must not come back."""

from __future__ import annotations

from pathlib import Path

import pytest

from mimicme.pipeline.errors import UsageError
from mimicme.pipeline.workspace.withdrawn import Withdrawn


def test_who_is_in_it_is_found_in_every_spelling_and_named_nowhere(tmp_path: Path) -> None:
    listed = Withdrawn(tmp_path)
    assert not listed.asked()("S001")
    for name in ("S001", "Anna"):
        listed.add(name)
    asked = Withdrawn(tmp_path).asked()
    assert [asked(one) for one in ("S001", "s-01", "Anna", "anna", "S002", "Ann")] == [True] * 4 + [False] * 2
    text = listed.file.read_text()
    assert len(text.splitlines()) == 5  # a line for the key, two for each
    assert "S001" not in text and "anna" not in text.lower()
    assert (tmp_path / "withdrawn.key").stat().st_mode & 0o077 == 0


def test_with_the_key_of_another_list_nobody_can_say_who_is_in_it(tmp_path: Path) -> None:
    for folder in ("one", "other"):
        (tmp_path / folder).mkdir()
        Withdrawn(tmp_path / folder).add("S001")
    (tmp_path / "one" / "withdrawn.key").write_bytes((tmp_path / "other" / "withdrawn.key").read_bytes())
    with pytest.raises(UsageError, match="that key is not the list's"):
        Withdrawn(tmp_path / "one").asked()
    (tmp_path / "one" / "withdrawn.txt").unlink()
    with pytest.raises(UsageError, match="missing or incomplete, though its key is there"):
        Withdrawn(tmp_path / "one").asked()
