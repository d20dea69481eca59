"""The documentation as a site: pages by what a user wants, made of the READMEs and of the code.

`make docs` builds it. Text stands once: a line of a page in `pages` that is nothing but a link to
a section of a README is that section on the site; options, commands and the API are read from the
code. The site asks no other server for anything, and can be read from a folder.
"""
