"""The pods of a run on a cluster: why one does not start, and why one has ended.

Everything here is read from Kubernetes, and only read. What may not be read, or does not answer, is not told.
"""
