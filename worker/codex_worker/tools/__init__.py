"""Tool calls as pure decisions: what a call would run, whether it may run unasked, and how its result reads.

No input or output here: activities carry out what these modules decide.
"""
