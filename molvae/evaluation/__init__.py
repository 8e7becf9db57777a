"""Metrics, each with its formula and the reference it follows: reconstruction, samples, Frechet ChemNet distance, search."""
