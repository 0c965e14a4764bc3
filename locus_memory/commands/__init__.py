"""The commands of `locus-memory` for people on call: look into a store, move threads, find out what is wrong.

One module for each command or topic; `application` puts them together. Nothing of the library imports this package.
"""
