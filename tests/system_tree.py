"""A fake system: the files that a kernel, a driver or a board would show, under a folder of the test's own."""

from __future__ import annotations


def tree(root, files):
    """Write path -> content (text, or bytes where it is none) under ``root``. Returns ``root``."""
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return root
