"""The template files that come with Balsam: ``settings.yml``, batch jobs and machines."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from balsam import errors

_PACKAGE = Path(__file__).resolve().parent.parent

#: Inside the package once installed; beside it in a source checkout.
_PLACES = (_PACKAGE / "templates", _PACKAGE.parent / "templates")


def text(name: str) -> str:
    """The text of a template, by its path under ``templates/``.

    Raises BalsamError if there is none of that name.
    """
    parts = Path(name).parts
    if not Path(name).is_absolute() and ".." not in parts:
        for place in _PLACES:
            file = place.joinpath(*parts)
            if file.is_file():
                return file.read_text(encoding="utf-8")
    raise errors.BalsamError(
        f"Balsam has no template '{name}' (looked in {' and '.join(map(str, _PLACES))}); "
        "install the package again if it should be there."
    )


def directory(name: str) -> Path | None:
    """A directory under ``templates/``, None if there is none of that name."""
    return next((place / name for place in _PLACES if (place / name).is_dir()), None)


def render(source: str, values: Mapping[str, object], *, name: str) -> str:
    """Fill in a Jinja2 template; ``name`` stands for it in errors.

    Raises SettingsError for a syntax error or a variable that is not among ``values``.
    """
    # Imported here because most commands render nothing and this takes as long as they do.
    import jinja2

    environment = jinja2.Environment(undefined=jinja2.StrictUndefined, keep_trailing_newline=True)
    try:
        return str(environment.from_string(source).render(values))
    except jinja2.TemplateSyntaxError as error:
        raise errors.SettingsError(f"{name}, line {error.lineno}: {error.message}.") from error
    except (jinja2.TemplateError, ArithmeticError, LookupError, TypeError, ValueError) as error:
        known = ", ".join(sorted(values))
        raise errors.SettingsError(f"{name}: {error} (the variables are {known}).") from error
