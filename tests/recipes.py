"""The code of a page of docs/, to be run."""

from __future__ import annotations

import re
from pathlib import Path

OPTIONAL = ("torch", "DataLoader", "trimesh", "dataframe")


def recipes(page: Path, optional: bool) -> str:
    """All code blocks of a page as one program, in order; without those that need optional packages, or with them."""
    blocks = re.findall(r"^```python\n(.*?)^```", page.read_text(encoding="utf-8"), flags=re.M | re.S)
    return "\n".join(b for b in blocks if optional or not any(word in b for word in OPTIONAL))
