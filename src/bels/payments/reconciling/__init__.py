"""Three books of one day compared: the partner's register, our ledger, the bank's transfer (partners 4.4)."""
