"""The page: a server on this machine for marking, tracking and correcting objects of one video in a browser."""
