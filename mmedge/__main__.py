"""``python -m mmedge`` is the command ``mmedge``."""

from mmedge.cli import main

main()
