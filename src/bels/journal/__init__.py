"""The truth, in PostgreSQL: entries and messages; nothing here is ever changed."""
