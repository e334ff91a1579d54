"""Workflows: graphs of calculations, what they mean, and how a run of one goes on. Rules alone, no I/O."""
