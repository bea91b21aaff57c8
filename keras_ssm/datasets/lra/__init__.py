"""Loaders of the six tasks of the Long Range Arena."""
