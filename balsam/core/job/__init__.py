"""What a job can do besides being a row: the mixins of ``BalsamJob``."""
