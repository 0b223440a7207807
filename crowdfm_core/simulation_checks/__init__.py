"""What the simulator is worth: likeness to real sets, and the worlds of the classical models."""
