"""`python -m locus_memory.commands`: the same commands where no entry point is installed."""

from locus_memory.commands.application import main

main()
