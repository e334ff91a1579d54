"""Driven studies by ask and tell: each look is rebuilt from the seed and the recorded points. Nothing is pickled."""
