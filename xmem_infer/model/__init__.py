"""The networks in plain PyTorch; files, devices, gradient modes and compilers are handled in other packages."""
