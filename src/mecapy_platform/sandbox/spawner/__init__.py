"""The process that starts sandboxes.

Standard library only, small on purpose: it may run as root and never reads tenants' data.
"""
