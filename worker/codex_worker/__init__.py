"""The workflow and its activities: the turn loop, model calls, tools.

The only package that imports openai; it holds no Kubernetes rights and never imports a Kubernetes client.
"""
