"""Reports: plots and a page made from a run directory, and from nothing else."""
