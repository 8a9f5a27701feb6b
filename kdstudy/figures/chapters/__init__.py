"""One module for each chapter of the book, called as its notebook is.

What several chapters draw is in `kdstudy.figures.shared`. Read the chapter's notebook first.
"""
