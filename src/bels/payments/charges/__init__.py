"""What households owe, as files for banks: layouts as data, every account once, in the bank's encoding."""
