"""The commands that give and take credentials and keys: `bels user`, `bels client`, `bels key`."""
