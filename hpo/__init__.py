"""Search hyperparameters of transformer text classifiers, cheaply, and believe the answer."""

__version__ = "0.1.0"
