"""Datasets: one file a kind, with `load(name, options) -> Dataset`."""
