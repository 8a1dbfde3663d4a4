"""Places where alerts go. Each implements `notify.ports.Sink`."""
