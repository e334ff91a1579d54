"""Runs of workflows: accepted, moved on, read, stopped."""
