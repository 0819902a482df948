"""Working and long-term memory: the token store, consolidation, and the memories built on them."""
