"""The one process that may speak with the Docker daemon, and so is root of the host.

It reads small checked requests and composes what the daemon is asked for by itself; it never parses what a tenant made
but a Dockerfile, in the one form that our reader writes.
"""
