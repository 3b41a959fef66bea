"""The contract shared by every part: resource models, names, events, workflow payloads.

Pure data and pure functions on it; pydantic is the only framework allowed here.
"""
