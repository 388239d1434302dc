"""The record as a whole: copied, put back, moved between databases, and checked."""
