"""What a Braket device is and can do, its native gates, and where a circuit goes on it."""
