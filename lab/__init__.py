"""Everything the tests, the demonstration and the benchmarks run against, made on one machine from packages and sources.

In: Debian packages, Go modules, Python wheels. Out: a container runtime of its own, Kubernetes nodes in namespaces of their own, images.
Never touches a runtime, a cluster, a network or a sysctl that is already on the machine, and leaves nothing behind.
"""
