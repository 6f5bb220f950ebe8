"""What an auditor needs: seals over the journal, proofs, replay in two times, what if, evidence, the trail over all accounts."""
