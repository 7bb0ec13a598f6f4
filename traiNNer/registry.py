"""Finding parts by the name a configuration gives, and checking their parameters.

A part's signature is its schema: names, types and defaults are read from the constructor or function, so
there is no second description that could disagree with the code. Names ignore case and underscores.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar, get_type_hints

from pydantic import ConfigDict, TypeAdapter, ValidationError
from pydantic.errors import PydanticSchemaGenerationError, PydanticUserError

from traiNNer.problems import ConfigError as ConfigError
from traiNNer.problems import Problem as Problem
from traiNNer.problems import did_you_mean as did_you_mean
from traiNNer.problems import normalise as normalise
from traiNNer.problems import problems_of as problems_of
from traiNNer.problems import shorten as shorten

T = TypeVar("T")
P = TypeVar("P", bound=Callable[..., Any])

_ANY_TYPE = ConfigDict(arbitrary_types_allowed=True)


@dataclass(frozen=True)
class Parameter:
    """One parameter of a part, as its signature declares it."""

    name: str
    hint: Any
    required: bool
    default: Any


class Registry(Generic[T]):
    """Names of one kind of part, filled by importing every module of one package."""

    def __init__(self, kind: str, package: str) -> None:
        self.kind = kind
        self._package = package
        self._parts: dict[str, Callable[..., T]] = {}
        self._names: dict[str, str] = {}
        self._aliases: dict[str, tuple[str, ...]] = {}
        self._loaded = False

    def register(self, *names: str) -> Callable[[P], P]:
        """A decorator: make a class or function available under `names`; the first is its own name."""

        def add(part: P) -> P:
            self._aliases[names[0]] = names[1:]
            for name in names:
                if self._parts.setdefault(normalise(name), part) is not part:
                    raise ValueError(f"two {self.kind}s are named {name!r}")
                self._names.setdefault(normalise(name), names[0])
            return part

        return add

    def names(self) -> list[str]:
        """The own names of all parts, without aliases."""
        self._load()
        return sorted(set(self._names.values()))

    def find(self, name: str) -> Callable[..., T] | None:
        """The part of that name, or None."""
        self._load()
        return self._parts.get(normalise(name))

    def own_name(self, name: str) -> str:
        """The name under which a part was registered first, for any of its names."""
        self._load()
        return self._names[normalise(name)]

    def aliases(self, name: str) -> tuple[str, ...]:
        """The other names of a part, as they were registered."""
        return self._aliases[self.own_name(name)]

    def parameters(self, name: str, given: Iterable[str] = ()) -> dict[str, Parameter]:
        """The parameters that a configuration may set; those in `given` come from the program."""
        self._load()
        return _parameters(self._parts[normalise(name)], frozenset(given))

    def check(self, spec: Mapping[str, Any], given: Iterable[str] = ()) -> list[Problem]:
        """Everything that is wrong with `spec`; paths are relative to it."""
        return self._read(spec, frozenset(given))[1]

    def build(self, spec: Mapping[str, Any], /, **given: Any) -> T:
        """Construct what `spec` describes; `given` are arguments only the program knows.

        Raises:
            ConfigError: With every problem of the spec.
        """
        params, problems = self._read(spec, frozenset(given))
        subject = f"{self.kind} {spec.get('type')!r}"
        if problems:
            places = [".".join(map(str, p.path if p.path != ("type",) else ())) for p in problems]
            lines = [": ".join(filter(None, (at, p.message))) for at, p in zip(places, problems, strict=True)]
            raise ConfigError(lines, subject=subject)
        try:
            return self._parts[normalise(spec["type"])](**params, **given)
        except ConfigError:
            raise
        except ValueError as error:  # ranges are known to the constructors alone
            raise ConfigError(str(error), subject=subject) from error
        except (RuntimeError, ArithmeticError, MemoryError, TypeError, IndexError) as error:
            said = str(error).strip().split("\n")[0] or type(error).__name__
            raise ConfigError(f"cannot be made of these values: {said}", subject=subject) from error

    def _read(self, spec: Mapping[str, Any], given: frozenset[str]) -> tuple[dict[str, Any], list[Problem]]:
        self._load()
        name = spec.get("type")
        if not isinstance(name, str):
            return {}, [Problem((), f"needs a 'type': which {self.kind}")]
        part = self._parts.get(normalise(name))
        if part is None:
            hint = did_you_mean(name, self._names.values()) or f"; known: {', '.join(self.names())}"
            return {}, [Problem(("type",), f"no {self.kind} named {name!r}{hint}")]
        known = _parameters(part, given)
        params: dict[str, Any] = {}
        problems: list[Problem] = []
        for key, value in spec.items():
            if key == "type":
                continue
            if key not in known:
                hint = did_you_mean(key, known) or f"; it takes: {', '.join(known) or 'nothing'}"
                problems.append(Problem((key,), f"unknown parameter of {self.kind} {name!r}{hint}"))
                continue
            try:
                params[key] = _adapter(known[key].hint).validate_python(value)
            except ValidationError as error:
                problems += [p.below(key) for p in problems_of(error)]
        missing = [p.name for p in known.values() if p.required and p.name not in spec]
        problems += [Problem((), f"needs {key!r}") for key in missing]
        return params, problems

    def _load(self) -> None:
        if self._loaded:
            return
        self._loaded = True
        package = importlib.import_module(self._package)
        for module in pkgutil.iter_modules(package.__path__):
            importlib.import_module(f"{self._package}.{module.name}")


def _parameters(part: Callable[..., Any], given: frozenset[str]) -> dict[str, Parameter]:
    hints = get_type_hints(part.__init__ if inspect.isclass(part) else part, include_extras=True)
    empty = inspect.Parameter.empty
    variadic = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return {
        name: Parameter(
            name, hints.get(name, Any), p.default is empty, None if p.default is empty else p.default
        )
        for name, p in inspect.signature(part).parameters.items()
        if name not in given and p.kind not in variadic
    }


def _adapter(hint: Any) -> TypeAdapter[Any]:
    try:
        return TypeAdapter(hint, config=_ANY_TYPE)
    except PydanticSchemaGenerationError:  # nothing to check a foreign annotation by
        return TypeAdapter(Any)
    except PydanticUserError:  # the type brings a configuration of its own
        return TypeAdapter(hint)
