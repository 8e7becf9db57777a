"""Fixtures and stand-ins for all tests; its place puts this folder on the import path, for `from fakes import ...`."""
