#!/bin/sh
# span.sh CORES SECONDS: add when this began and ended, and how many cores it asked for, to $RUNS.
begin=$(date +%s.%N)
sleep "$2"
echo "$1 $begin $(date +%s.%N)" >> "$RUNS"
