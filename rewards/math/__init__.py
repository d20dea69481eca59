"""Mathematical answers, from a completion to a verdict, bounded at every step.

    extract   where the final answer stands           boxes, phrases, answer_words
    read      text to a small tree                    tokens, cursor, answer, entries, expressions,
                                                      brackets, numerals, arithmetic, lookahead
      names and rows                                  names, systems, congruences, formulae
      what stands behind a value                      quantities, scaling, units, nouns, languages
    compare   structure, then exact, then numeric     compare, statements, regions, scalars, exact,
                                                      numeric; layout for what cannot be read
    evaluate  sums and integrals, lenient only        symbolic, closed_form (in a killable worker)

`verifier` puts them together, `policy` names what graders disagree about, `limits` holds every
bound.
"""
