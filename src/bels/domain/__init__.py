"""What is true of accounts: values and pure functions only."""
