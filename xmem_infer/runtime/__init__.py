"""How the network runs: device, grad mode, precision, variants. The only room that touches torch globals."""
