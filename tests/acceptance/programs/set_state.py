"""A handler: set_state.py STATE [EXIT_CODE] moves the current job; with 'forget' it does not.

After a good run it does nothing.
"""

from __future__ import annotations

import sys

from balsam.launcher import dag

if not (dag.ERROR or dag.TIMEOUT):
    sys.exit(0)
print(f"handling {'error' if dag.ERROR else 'timeout'} of {dag.current_job.name}")
if sys.argv[1] != "forget":
    dag.current_job.update_state(sys.argv[1], "set by its handler")
sys.exit(int(sys.argv[2]) if len(sys.argv) > 2 else 0)
