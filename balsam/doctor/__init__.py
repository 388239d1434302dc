"""The doctor: examines a project and its machine, and repairs what can be repaired safely."""
