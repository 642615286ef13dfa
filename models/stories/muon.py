"""Muon (Jordan et al. 2024, https://kellerjordan.github.io/posts/muon): each matrix moves by its momentum with all singular values brought to about 1.

PyTorch's own works in bfloat16, which CPUs without instructions for it do slowly; this one works in float32, and on all matrices of a shape at once."""

import torch


def orthogonal(batch, steps=5):
    """A batch of matrices, each replaced by the nearest one with singular values of about 1, by a quintic Newton-Schulz iteration."""
    tall = batch.shape[-2] > batch.shape[-1]
    x = batch.mT if tall else batch
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    for _ in range(steps):
        square = x @ x.mT
        x = 3.4445 * x + (-4.7750 * square + 2.0315 * square @ square) @ x
    return x.mT if tall else x


class Muon(torch.optim.Optimizer):
    def __init__(self, matrices, lr, momentum=0.95, weight_decay=0.0):
        super().__init__(matrices, dict(lr=lr, momentum=momentum, weight_decay=weight_decay))

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            of_shape = {}
            for p in group["params"]:
                of_shape.setdefault(p.shape, []).append(p)
            for (rows, columns), matrices in of_shape.items():
                moves = orthogonal(torch.stack([self.momentum_of(p, group["momentum"]) for p in matrices]))
                for p, move in zip(matrices, moves):
                    p.mul_(1 - group["lr"] * group["weight_decay"])
                    p.add_(move, alpha=-group["lr"] * max(1, rows / columns) ** 0.5)

    def momentum_of(self, p, momentum):
        """Nesterov's."""
        buffer = self.state[p].setdefault("momentum", torch.zeros_like(p))
        buffer.lerp_(p.grad, 1 - momentum)
        return p.grad.lerp(buffer, momentum)
