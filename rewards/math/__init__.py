"""Mathematical answers, from a completion to a verdict, bounded at every step.

    extract   where the final answer stands           boxes, phrases
    read      text to a small tree                    normalise, tokens, groups, parse, answer
    compare   structure, then exact, then numeric     compare, regions, scalars, exact, numeric
    evaluate  sums and integrals, lenient only        symbolic, closed_form (in a killable worker)

`verifier` puts them together, `policy` names what graders disagree about, `limits` holds every
bound.
"""
