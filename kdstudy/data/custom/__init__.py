"""A user's own data: a CSV of texts or a folder of images."""
