#!/bin/bash
#SBATCH --nodes={{ num_nodes }}
#SBATCH --time={{ wall_time_min }}
{%- if project %}
#SBATCH --account={{ project }}
{%- endif %}
{%- if queue %}
#SBATCH --partition={{ queue }}
{%- endif %}
{%- if sched_flags %}
#SBATCH {{ sched_flags }}
{%- endif %}
#SBATCH --signal=B:TERM@60
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

# The launcher replaces this shell, so that it gets Slurm's TERM a minute before the end. It ends two
# minutes early by itself, so that running jobs are recorded.
exec balsam launcher --{{ wf_filter }} --job-mode={{ job_mode }} \
    --time-limit-minutes={{ [wall_time_min - 2, 1] | max }}
