"""A form with its parameters held to a linear subspace: exponents tied, a parameter fixed."""

from dataclasses import dataclass

import numpy as np

from saltus.law.forms.base import Array, Form, Logs


@dataclass(frozen=True, eq=False)
class Restricted:
    """The inner form at theta = origin + basis u; a form of u (..., q) as far as a descent asks.

    `basis` is (p, q), `origin` (p,). By the chain rule the gradient is basis^T g and the Hessian
    basis^T H basis.
    """

    inner: Form
    basis: Array
    origin: Array

    def theta(self, free: Array) -> Array:
        """Return the inner vectors (..., p) of `free` (..., q)."""
        return np.asarray(self.origin + free @ self.basis.T)

    def evaluate(self, free: Array, logs: Logs) -> tuple[Array, Array]:
        """Return log loss (..., n) and its gradient (..., n, q)."""
        value, gradient = self.inner.evaluate(self.theta(free), logs)
        return value, gradient @ self.basis

    def curvature(self, free: Array, logs: Logs, weights: Array) -> Array:
        """Return the row sum (..., q, q) of `weights` (..., n) times the Hessian of log loss."""
        inner = self.inner.curvature(self.theta(free), logs, weights)
        return np.asarray(self.basis.T @ inner @ self.basis)
