"""What an operator of the servers sees: logs, metrics, traces. Never anything personal."""
