"""The heads of all accounts in a Merkle tree, signed: a seal, of which a copy outside proves what the journal was."""
