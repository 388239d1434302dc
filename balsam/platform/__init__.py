"""The machine: programs, processes, files and nodes, as plain values and without the record."""
