"""A second process (or more), each with a share of the batch: on small CPUs faster than threads in each operation.

Processes, not threads: a step needs two wake-ups instead of thousands, which counts on a machine that others use.
"""

import copy
import signal
from multiprocessing.connection import Connection

import torch
import torch.multiprocessing as mp
from torch import Tensor

from ..config import require
from ..errors import EnvironmentFault
from ..model.network import XMem
from .batches import Batch
from .config import TrainConfig
from .gradient import add_gradient


class Replicas:
    """A network, and processes that compute gradients of its parameters, which lie in shared memory."""

    def __init__(self, network: XMem, config: TrainConfig):
        device = next(network.parameters()).device
        require(config.replicas == 1 or device.type == "cpu", "replicas", config.replicas, "1 except on CPU")
        self.network = network
        self.config = config
        self._helpers: list[_Helper] = []
        if config.replicas > 1:
            network.share_memory()
            self._helpers = [_Helper(network, config) for _ in range(config.replicas - 1)]

    def backward(self, batch: Batch, seen: int) -> dict[str, float]:
        """Put the gradient of the whole batch into the network's parameters; what the batch cost."""
        count = batch.images.shape[0]
        helpers = self._helpers[: count - 1]
        shares = 1 + len(helpers)
        parts = [
            Batch(batch.start, images, labels, batch.objects)
            for images, labels in zip(batch.images.tensor_split(shares), batch.labels.tensor_split(shares), strict=True)
        ]
        for helper, part in zip(helpers, parts[1:], strict=True):
            helper.ask(part, seen, count, self.network.training)
        costs = [add_gradient(self.network, parts[0], self.config, seen, count)]
        costs += [helper.answer() for helper in helpers]
        self._gather(helpers)
        return {name: sum(cost[name] for cost in costs) for name in costs[0]}

    def close(self) -> None:
        """End the helping processes."""
        for helper in self._helpers:
            helper.close()
        self._helpers = []

    @torch.no_grad()
    def _gather(self, helpers: "list[_Helper]") -> None:
        """Add the helpers' gradients, in a fixed order, and average the statistics of batch norm."""
        for helper in helpers:
            for parameter, theirs in zip(self.network.parameters(), helper.gradients, strict=True):
                if parameter.grad is not None:
                    parameter.grad.add_(theirs)
        for buffer, *theirs in zip(_statistics(self.network), *(helper.statistics for helper in helpers), strict=True):
            buffer.copy_(torch.stack([buffer, *theirs]).mean(0))


class _Helper:
    """A process with its own gradients and statistics, handed over in shared memory."""

    def __init__(self, network: XMem, config: TrainConfig):
        context = mp.get_context("spawn")
        self.gradients = [torch.zeros_like(p).share_memory_() for p in network.parameters()]
        self.statistics = [b.clone().share_memory_() for b in _statistics(network)]
        self._start = [b.clone().share_memory_() for b in _statistics(network)]
        self._network = network
        self._pipe, theirs = context.Pipe()
        threads = torch.get_num_threads()
        arguments = (theirs, network, self._start, self.gradients, self.statistics, config, threads)
        self._process = context.Process(target=_help, args=arguments, daemon=True)
        self._process.start()
        theirs.close()

    def ask(self, part: Batch, seen: int, of: int, training: bool) -> None:
        for start, now in zip(self._start, _statistics(self._network), strict=True):
            start.copy_(now)
        self._pipe.send((part.start, part.images.numpy(), part.labels.numpy(), part.objects, seen, of, training))

    def answer(self) -> dict[str, float]:
        try:
            return self._pipe.recv()
        except EOFError:
            raise EnvironmentFault(
                "a helping process of the training died; resume, or train with replicas=1 to see why"
            ) from None

    def close(self) -> None:
        self._pipe.close()
        self._process.join()


def _help(
    pipe: Connection,
    shared: XMem,
    start: list[Tensor],
    gradients: list[Tensor],
    statistics: list[Tensor],
    config: TrainConfig,
    threads: int,
) -> None:
    """The helping process: waits for parts of batches until the other side closes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group: the main process decides
    torch.set_num_threads(threads)
    network = copy.deepcopy(shared)
    for ours, theirs in zip(network.parameters(), shared.parameters(), strict=True):
        ours.data = theirs.data
    while True:
        try:
            first, images, labels, objects, seen, of, training = pipe.recv()
        except EOFError:
            return
        network.train(training)
        network.zero_grad(set_to_none=True)
        with torch.no_grad():
            torch._foreach_copy_(_statistics(network), start)
        part = Batch(first, torch.from_numpy(images), torch.from_numpy(labels), objects)
        cost = add_gradient(network, part, config, seen, of)
        with torch.no_grad():
            for shared_gradient, parameter in zip(gradients, network.parameters(), strict=True):
                shared_gradient.zero_() if parameter.grad is None else shared_gradient.copy_(parameter.grad)
            torch._foreach_copy_(statistics, _statistics(network))
        pipe.send(cost)


def _statistics(network: XMem) -> list[Tensor]:
    return [buffer for buffer in network.buffers() if buffer.is_floating_point()]
