"""The world: everything that touches a kernel, a runtime, a cluster, a registry, a disk or a network. Implements the stages' ports."""
