"""A local web server and its page, for annotating, tracking and correcting the objects of one video in a browser."""
