"""Takes a second to load, and whoever would check notebooks with it does without."""

raise ImportError
