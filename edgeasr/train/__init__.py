"""The training side: the only package of edgeasr that imports torch.

A recipe says what is read (`manifest`, `clips`), damaged (`augmentation`), heard by a teacher (`teachers`), made into
batches (`dataset`) and learnt (`student`, `losses`, `distil`, `loop`); then it is exported (`export`) and measured
(`evaluation`). `workflow` has each of these as one function.
"""
