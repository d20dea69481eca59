"""Mathematical answers, from a completion to a verdict, bounded at every step.

    find        where the final answer stands
    read        its text to a small tree (`nodes`), with the tables of `vocabulary`
    compare     structure, then exact, then numeric
    evaluate    sums and integrals, lenient only, in a killable worker

`verifier` puts them together, `policy` names what graders disagree about, `limits` holds every
bound, `legacy` is a reference grader's own rule.
"""
