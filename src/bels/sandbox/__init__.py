"""A supplier for a partner to try on: synthetic accounts in every state that matters, a clock that moves, faults on demand."""
