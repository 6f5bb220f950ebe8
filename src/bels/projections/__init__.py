"""What the truth looks like: views of the journal, written in the append's own transaction, told again by the same functions."""
