"""How the network runs: device, gradient mode, precision, backend. Only here are torch's global settings changed."""
