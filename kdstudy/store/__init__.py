"""Where results live: the working store (SQLite), the published results, and which code they belong to.

Nothing is trained or judged here. Read `working` first, then `provenance` (when a result is stale).
"""
