"""Found by name: see mmedge.runner."""
