"""The book: chapters executed, pages built from them, results published and trained again.

No figure and no number is made here: chapters ask `kdstudy.study` and `kdstudy.figures` for them.
Read first: `build`, from notebooks to pages; then `publish`, from the working store to the published results.
"""
