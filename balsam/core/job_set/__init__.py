"""What a set of jobs can do besides being a query: the bases of ``JobQuerySet``."""
