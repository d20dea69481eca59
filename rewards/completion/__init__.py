"""A completion as a text: where in it an answer may stand, whatever reward looks for it."""
