"""The image store of Podman, Buildah and CRI-O (containers-storage), read where it lies, without any of their processes."""
