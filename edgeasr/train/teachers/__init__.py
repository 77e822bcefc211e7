"""Who tells a student what a clip says, and what is kept of it."""
