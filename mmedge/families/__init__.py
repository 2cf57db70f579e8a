"""Found by name: see mmedge.family."""
