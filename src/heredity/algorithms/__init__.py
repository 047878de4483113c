"""Algorithms: a frozen configuration and pure functions. They do not know each other."""
