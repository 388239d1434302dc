#!/bin/bash
#COBALT -n {{ num_nodes }}
#COBALT -t {{ wall_time_min }}
{%- if project %}
#COBALT -A {{ project }}
{%- endif %}
{%- if queue %}
#COBALT -q {{ queue }}
{%- endif %}
{%- if sched_flags %}
#COBALT {{ sched_flags }}
{%- endif %}
# The batch script of this project, a Jinja2 template. Balsam fills in the words in double braces,
# quoted for the shell where they need it:
#   project, queue, sched_flags        for the scheduler
#   num_nodes (also nodes), wall_time_min (also time_minutes)
#   job_mode                           mpi or serial
#   wf_filter                          consume-all, or wf-filter=NAME
#   balsam_bin, balsam_db_path         where the balsam command and this project are
# Add what your jobs need (modules, proxies, environments) before the last line.

export PATH={{ balsam_bin }}:"$PATH"
export BALSAM_DB_PATH={{ balsam_db_path }}
cd {{ balsam_db_path }} || exit 1

# Cray's MPI libraries were run with this on Theta.
export PMI_NO_FORK=1

# It ends two minutes early, so that running jobs are recorded.
exec balsam launcher --{{ wf_filter }} --job-mode={{ job_mode }} \
    --time-limit-minutes={{ [wall_time_min - 2, 1] | max }}
