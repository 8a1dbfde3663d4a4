"""Keys and certificates: made, kept, rotated and used; never printed."""
