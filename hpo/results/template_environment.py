"""The Jinja environment of all templates of the package: `templates/` of hpo.results and of hpo.report."""

from __future__ import annotations

from functools import cache

from jinja2 import Environment, PackageLoader, StrictUndefined


@cache
def template_environment(package: str, autoescape: bool = False) -> Environment:
    """Return the environment that loads templates from the folder `templates` of a package.

    With `autoescape`, values are escaped for HTML. An undefined name is an error in every template. The environment is
    cached, so filters that a caller adds stay.
    """
    return Environment(
        loader=PackageLoader(package),
        autoescape=autoescape,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
