"""The network as machine code for the CPU: a whole search step without Python in between."""
