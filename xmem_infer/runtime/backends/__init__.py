"""Ways to run the network: eager, fast, compiled, and the rewrites they are made of, one technique a file."""
