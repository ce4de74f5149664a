"""Pages for people: one file each, nothing fetched from elsewhere, readable without JavaScript."""
