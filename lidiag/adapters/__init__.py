"""Adapters: one file each, with `load(name, options) -> Adapter`."""
