"""The user's side: the command line and the scripted model server.

In a cluster it talks to Kubernetes only.
"""
