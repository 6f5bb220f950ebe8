"""What every channel does alike, whatever its protocol: who speaks, what is taken, what is answered."""
