"""The audit trail over all accounts: searched, exported, looked through for what is unusual."""
