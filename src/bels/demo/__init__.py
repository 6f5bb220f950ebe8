"""The demonstration town: what bels shows to whoever sees it for the first time."""
