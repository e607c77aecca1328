"""Schedules, the per-replica optimizer, and trunks with an anneal at every horizon."""
