"""The pilot, and the public modules ``dag`` and ``futures``."""
