"""A form seen through a linear map: its parameters tied or fixed, its rows whitened."""

from dataclasses import dataclass

import numpy as np

from saltus.law.forms.base import Array, Logs, Surface


@dataclass(frozen=True, eq=False)
class Restricted:
    """The inner surface at theta = origin + basis u, a surface of u (..., q).

    `basis` is (p, q), `origin` (p,). By the chain rule the gradient is basis^T g and the Hessian
    basis^T H basis.
    """

    inner: Surface
    basis: Array
    origin: Array

    def theta(self, free: Array) -> Array:
        """Return the inner vectors (..., p) of `free` (..., q)."""
        return np.asarray(self.origin + free @ self.basis.T)

    def evaluate(self, free: Array, logs: Logs) -> tuple[Array, Array]:
        """Return log loss (..., n) and its gradient (..., n, q)."""
        value, gradient = self.inner.evaluate(self.theta(free), logs)
        return value, gradient @ self.basis

    def curvature(
        self, free: Array, logs: Logs, weights: Array, gradient: Array | None = None
    ) -> Array:
        """Return the row sum (..., q, q) of `weights` (..., n) times the Hessian of log loss."""
        inner = self.inner.curvature(self.theta(free), logs, weights)
        return np.asarray(self.basis.T @ inner @ self.basis)


@dataclass(frozen=True, eq=False)
class Whitened:
    """The inner surface with its rows mixed by `root` (n, n), so that correlated noise is not."""

    inner: Surface
    root: Array

    def evaluate(self, theta: Array, logs: Logs) -> tuple[Array, Array]:
        """Return mixed log losses (..., n) and their gradient (..., n, p)."""
        value, gradient = self.inner.evaluate(theta, logs)
        return value @ self.root.T, self.root @ gradient

    def curvature(
        self, theta: Array, logs: Logs, weights: Array, gradient: Array | None = None
    ) -> Array:
        """Return the row sum (..., p, p) of `weights` (..., n) times the mixed Hessian."""
        return self.inner.curvature(theta, logs, weights @ self.root)
