"""Looks for sources that are plainly hostile. Advice, not the boundary: that is the sandbox."""
