#!/bin/bash
# traced.sh TENTHS [GATE [ATTEMPTS]]: leaves signs of life, with the time and the node, in a file of
# its own in $TRACES; ends after so many tenths of a second, but in its first ATTEMPTS attempts (by
# default, all) not before the file GATE is there.
LC_ALL=C
node=$(</proc/sys/kernel/hostname)
if [[ -n $TRACE_NODENAME ]]; then
    # Nodes that share a host name: who started this knows which of them it is on.
    while IFS= read -r -d '' pair; do
        if [[ $pair == SLURMD_NODENAME=* ]]; then node=${pair#*=}; fi
    done <"/proc/$PPID/environ"
fi
file=$TRACES/$BALSAM_JOB_ID.$BALSAM_ATTEMPT.$node.$$.$EPOCHREALTIME
note() { printf '%s %s %s 0 1\n' "$1" "$EPOCHREALTIME" "$node" >>"$file"; }
# A tenth of a second without a process of its own: there are hundreds of these at a time.
exec {nothing}<> <(:)
rest() { read -r -t 0.1 -u "$nothing"; }
gate=$2
if ((BALSAM_ATTEMPT > ${3:-1000})); then gate=; fi
note B
for ((tenth = 0; tenth < $1; tenth++)); do
    rest
    note T
done
while [[ -n $gate && ! -e $gate ]]; do
    rest
    note T
done
note E
