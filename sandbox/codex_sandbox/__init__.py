"""The supervisor that runs a session's commands, and the client that talks to it.

Standard library only: the supervisor is copied into images that have nothing but Python.
"""
