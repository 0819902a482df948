"""The command line: words to settings, settings to an exit code."""
