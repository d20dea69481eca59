"""Tables of what the parser knows: commands and signs, units, nouns, number words, languages."""
