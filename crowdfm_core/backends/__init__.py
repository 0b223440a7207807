"""The array operations that the architectures are written in, on NumPy + Numba and on torch."""
