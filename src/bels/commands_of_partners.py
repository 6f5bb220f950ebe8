"""What a person types about partners: registers, reconciliation, charges sent out."""
