"""A scripted model that speaks the Responses API over HTTP: for demos without a key, for tests and for the bench.

Its replies come from a YAML script and from the request alone, so that retries and restarts give the same answer.
"""
