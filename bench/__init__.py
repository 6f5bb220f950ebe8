"""The benchmarks of bels and the peers they are measured against: ``python -m bench``."""
