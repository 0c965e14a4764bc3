"""From YAML to a resumed conversation, on real servers: ``python -m hack.demo``, or ``make demo``."""
