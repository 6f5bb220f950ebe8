"""How readings and questions arrive, and what the sender hears: a channel translates and nothing more."""
