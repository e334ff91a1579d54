"""Mathematics of studies: draws designs, calculates statistics, drives optimisers, plots. ADR 19 names the libraries.

NumPy, SciPy, pymoo, matplotlib and arro3 are imported here alone, and all of it runs in bounded processes: who needs
a study's numbers calls `numerics.calls`, which imports none of them.
"""
