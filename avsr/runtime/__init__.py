"""The machine: cores, workers, prefetching, interrupts, progress, atomic files, lazy imports."""
