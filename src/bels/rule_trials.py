"""Try other rules on many accounts, in parallel; nothing is stored."""
