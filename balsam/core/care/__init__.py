"""The database as a file: copied, put back, and checked with what it holds."""
