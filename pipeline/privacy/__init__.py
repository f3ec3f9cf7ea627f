"""Whom a file speaks of: names found in texts, and keyed hashes in their place."""
