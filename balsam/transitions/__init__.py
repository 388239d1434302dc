"""The steps between runs: each takes a frozen description of a job and returns an outcome."""
