"""What a student is taught: the one loss, every condition, the three levels they are built from.

No training and no data sets: all of it is functions of logits and labels. Read `loss` first, then `conditions`.
"""
