"""The metascheduler's package; ``models`` is kept for scripts of the first Balsam."""
