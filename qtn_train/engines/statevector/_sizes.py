"""Sizes that the plans and the compiled loops share."""

# Numbers between the rows of a tile, so that rows do not compete for the same cache lines.
PADDING = 16
# Where other qubits become the lowest, so many of them change places with the lowest at a time.
SQUARE = 3
