"""Where a program lies on a chip: populations, cores, traffic."""
