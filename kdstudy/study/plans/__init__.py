"""Plans: a chapter's parameters to its runs, by part. Levels of knowledge first, then failures."""
