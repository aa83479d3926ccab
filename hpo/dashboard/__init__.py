"""optuna-dashboard with hpo's notes, plots and files, on a store or on a read-only copy of it."""

from hpo.dashboard.server import Dashboard, serve_dashboard

__all__ = ["Dashboard", "serve_dashboard"]
