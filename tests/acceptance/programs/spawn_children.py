"""A postprocess: spawns three children, and a last one that waits for all of them."""

from __future__ import annotations

from balsam.launcher import dag

children = [
    dag.spawn_child(name=name, direct_command=f"/bin/sh -c 'echo {name[-1]} > {name}.txt'")
    for name in ("part0", "part1", "part2")
]
total = dag.spawn_child(
    name="total", direct_command="/bin/sh -c 'cat part*.txt'", input_files="part*.txt"
)
for child in children:
    dag.add_dependency(child, total)
