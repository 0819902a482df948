"""`python -m xmem_infer` is the command `xmem-infer`."""

from .cli.commands import eval_command

if __name__ == "__main__":
    eval_command()
