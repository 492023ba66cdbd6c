"""Every data source by name: a function from LoadOptions to Images."""

from likewise.data.arrays import arrays
from likewise.data.digits import digits
from likewise.data.faces import faces
from likewise.data.folder import folder
from likewise.data.groceries import groceries
from likewise.data.idx import fashion_mnist, mnist
from likewise.data.omniglot import omniglot
from likewise.data.signatures import signatures
from likewise.data.table import table
from likewise.data.tracking import tracking

__all__ = [
    "arrays",
    "digits",
    "faces",
    "fashion_mnist",
    "folder",
    "groceries",
    "mnist",
    "omniglot",
    "signatures",
    "table",
    "tracking",
]
