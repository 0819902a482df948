"""Backends that run a network (eager, fast, compiled, openvino) and their rewrites, one technique per file."""
