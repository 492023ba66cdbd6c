"""Shipped recipes: one function each; its docstring holds the command, the time and the result."""

from likewise.recipes.digits import digits
from likewise.recipes.folder import folder
from likewise.recipes.mnist import fashion_mnist, fashion_mnist_2d, mnist, mnist_2d
from likewise.recipes.omniglot import omniglot

__all__ = ["digits", "fashion_mnist", "fashion_mnist_2d", "folder", "mnist", "mnist_2d", "omniglot"]
