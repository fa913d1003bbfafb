"""Process-level helpers: cores, workers, prefetching, Ctrl-C, progress, atomic files."""
