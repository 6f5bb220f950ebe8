"""bels: the system of record of a household electricity supplier."""
