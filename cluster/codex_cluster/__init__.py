"""The tool behind `make up` and `make down`: a Kubernetes cluster for tests and demos.

Not shipped with the product and imported by none of its packages.
"""
