"""experiment: the questions that papers put to a database of faces, one command each.

    expressions  which expression is it, on people the classifier has never seen
    age, gender  out of the shape of the neutral face, on people never seen
    coma         reconstruction by PCA over CoMA's splits: interpolation, extrapolation, identity

What is trained here is trained on the subjects of a `folds.Fold` that are not tested, and cannot be trained
otherwise: see `folds`.
"""
