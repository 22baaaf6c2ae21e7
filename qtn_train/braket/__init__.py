"""Amazon Braket: the same circuits on its simulators and on real devices.

Nothing outside this package imports ``braket``, and nothing in it does before it is used.
"""

from .device import couplings

__all__ = ["couplings"]
