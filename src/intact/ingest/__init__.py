"""Stage 1: an image, in any form → layer tables."""
