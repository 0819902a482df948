"""Memory: a store of fixed capacity, consolidation, and the manager that reads and writes both."""
