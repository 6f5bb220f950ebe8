"""What the auditor relies on."""
