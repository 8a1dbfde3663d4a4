"""The node's ends of the seam: in one process, or over HTTPS; and the spool that keeps reports until the cluster has them."""
