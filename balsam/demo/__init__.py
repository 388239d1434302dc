"""A small campaign that shows what Balsam does: made, run and checked by ``balsam demo``."""
