"""The version of this distribution, so that saying it needs no search among what is installed."""

VERSION = "0.1.0"
