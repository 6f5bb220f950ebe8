"""The rulebooks that bels brings along, and the file in which an operator publishes another."""
