#!/bin/sh
# family.sh: a task with a child in its group, one in a session of its own, and one below that.
# Ignores TERM, and so do they. Tells all pids in the file family.pids, complete when it is there.
trap '' TERM
sleep 600 &
child=$!
setsid sh -c 'trap "" TERM; sleep 600 & echo $$ $! > far.tmp; mv far.tmp far.pids; wait' &
while [ ! -f far.pids ]; do sleep 0.01; done
echo $$ $child $(cat far.pids) > family.tmp
mv family.tmp family.pids
wait
