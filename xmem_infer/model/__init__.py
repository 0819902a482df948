"""The network, written once: it knows nothing of files, devices, grad modes or compilers."""
