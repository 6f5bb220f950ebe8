"""Three books of one day compared."""
