"""SELFIES strings: how they are spelled, what may be written next, and their vocabulary; nothing of networks."""
