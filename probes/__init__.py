"""Probes: one file each, holding the class named after the file."""
