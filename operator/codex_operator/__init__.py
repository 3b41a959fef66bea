"""The Kubernetes operator: reconcile, approvals, sandbox pods, status projection.

The only package that imports kopf; it never sees a model key and never runs what a model chose.
"""
