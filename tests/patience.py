"""How long a page may take: a machine that checks changes may be busy with others."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from playwright.sync_api import Page

SLACK = 4 if os.environ.get("CI") else 1
"""What is waited for takes up to so many times as long there."""


def pause(page: Page, milliseconds: float) -> None:
    """Let the page work."""
    page.wait_for_timeout(SLACK * milliseconds)
