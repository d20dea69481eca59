"""The parser: from the text of an answer to a small tree. `answer` has the map of its rules."""
