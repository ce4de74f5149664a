"""Do intervals cover, do gates stay silent where nothing is wrong, and speak where something is? By simulation."""
