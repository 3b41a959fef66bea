"""The Responses API as the worker uses it: one streamed request, and what to do when it fails.

Nothing here retries: Temporal owns retries; ``posture`` only says what they should be.
"""
