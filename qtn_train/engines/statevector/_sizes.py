"""Sizes that the plans and the compiled loops share."""

# Numbers between the rows of a tile, so that rows do not compete for the same cache lines.
PADDING = 16
