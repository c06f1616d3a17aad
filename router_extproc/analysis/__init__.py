"""What a request is: facts read from its body when they are asked for, and what it needs a model to be able to do.

``Analyser`` makes analyses, ``Classifier`` holds what was learned, ``RequestAnalysis`` answers.
"""
