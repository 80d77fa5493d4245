"""Names of files as annotations give them: relative to one folder, never out of it."""

from __future__ import annotations

import os
import re


def leaves_folder(file_name: str) -> bool:
    """Return whether the text of ``file_name`` points outside of its folder (absolute, ``..``, NUL, not text)."""
    if not file_name or "\0" in file_name or file_name[0] in "/\\" or re.match(r"[A-Za-z]:[/\\]", file_name):
        return True
    try:
        os.fsencode(file_name)
    except UnicodeEncodeError:
        return True
    return ".." in file_name and ".." in re.split(r"[/\\]", file_name)
