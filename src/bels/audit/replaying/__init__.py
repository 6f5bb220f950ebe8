"""An account as it was on a day, as we knew it on another day; step by step."""
