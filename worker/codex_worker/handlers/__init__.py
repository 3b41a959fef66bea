"""How a call that may run is run: one module for each kind of tool. The executor has judged it before.

Every handler journals its result itself, once; a repeat of the activity finds it and runs nothing.
"""
