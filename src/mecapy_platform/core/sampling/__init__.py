"""Studies: designs of experiments and driven studies as records. Reads, counts and refuses; heavy libraries draw.

Rules alone, no I/O and nothing beside the standard library, so that the command line can check a design before it is
sent. What draws random designs and calculates statistics is in `numerics`.
"""
