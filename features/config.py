"""holdfast.toml: every setting typed, with its default and its reason, read in one place.

Environment variables override the file: `HOLDFAST_WINDOWS__HORIZON=60` is `[windows] horizon = 60`. An unknown key is
an error that guesses the slip. `docs/configuration.md` is generated from this file.
"""

from __future__ import annotations

import difflib
import os
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal
from zoneinfo import available_timezones

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from features.errors import BadConfiguration, MissingInput
from features.windows import Windows

Language = Literal["en", "zh-CN"]
Share = Annotated[float, Field(ge=0.0, le=1.0)]

TABLES = (
    "purchases",
    "returns",
    "complaints",
    "surveys",
    "events",
    "campaigns",
    "costs",
    "referrals",
    "customers",
    "attitudes",
)


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Shop(_Section):
    """What is printed on lists, and how days and money are read."""

    name: str = Field("shop", description="printed on lists")
    currency: str = Field(
        "USD", pattern=r"^[A-Z]{3}$", description="ISO 4217 code; its exponent decides the minor unit"
    )
    timezone: str = Field("UTC", description="times that carry a zone are moved here before their day is taken")
    language: Language = Field("en", description="the language of lists and reports")

    @field_validator("timezone")
    @classmethod
    def _known_zone(cls, zone: str) -> str:
        if zone not in available_timezones():
            near = difflib.get_close_matches(zone, available_timezones(), 1)
            raise ValueError(f"no such time zone{f'; did you mean {near[0]}?' if near else ''}")
        return zone


class Table(_Section):
    """Where one table lies and what its columns are called there."""

    path: str = Field(description="CSV(.gz), Parquet, a glob, or a database URL")
    table: str | None = Field(None, description="the table's name, where `path` is a database URL")
    columns: dict[str, str] = Field(
        default_factory=dict, description="ours = theirs; a column not named keeps its name"
    )
    only: dict[str, list[str]] = Field(
        default_factory=dict, description="keep only rows whose column holds one of these"
    )


class WindowSettings(_Section):
    """The spans of days that define at risk and churned; `holdfast init` proposes them with the evidence."""

    horizon: int = Field(91, ge=1, le=1095, description="H: the days after the cutoff that are forecast")
    active: int = Field(182, ge=1, le=3650, description="A: at risk = bought in the A days ending on the cutoff")
    drop: float = Field(
        0.5, gt=0, lt=1, description="d: partial churn = horizon spend below (1-d) of the trailing level"
    )


class Action(_Section):
    """One thing that can be done with a listed customer."""

    channel: str = Field("email", description="consent is looked up under this channel")
    cost: float = Field(0.0, ge=0, description="per contact, in the shop's currency")
    discount: float = Field(0.0, ge=0, le=1, description="share of the next order given away")
    owner: str = Field("retention", description="who does it")
    capacity: int | None = Field(None, ge=0, description="contacts a week; absent: no limit")


class Economics(_Section):
    """What money is worth and what acting costs."""

    margin: Share = Field(0.3, description="share of revenue kept, where the cost column is missing")
    discount_rate: float = Field(0.1, ge=0, le=1, description="a year, for net present values")
    years: float = Field(3.0, gt=0, le=20, description="how far CLV looks ahead")
    contact_cost: float = Field(1.0, ge=0, description="per contact, where an action names no cost")
    budget: float | None = Field(None, ge=0, description="a week; absent: no limit")
    capacity: int | None = Field(None, ge=0, description="contacts per owner and week; absent: no limit")
    actions: dict[str, Action] = Field(default_factory=dict, description="actions beside the built-in catalogue")


def _both() -> list[Language]:
    return ["en", "zh-CN"]


class Serving(_Section):
    """How lists are made."""

    hold_out: float = Field(
        0.1, ge=0, le=0.5, description="share of listed customers kept untreated, so worth can be measured"
    )
    list_length: int = Field(500, ge=1, description="rows on each list at the most")
    cool_off_days: int = Field(28, ge=0, description="after a contact or a refusal a customer is not listed for action")
    max_contacts: int = Field(3, ge=0, description="contacts in 91 days at the most (fatigue)")
    languages: list[Language] = Field(default_factory=_both, description="languages of reasons and actions")
    exempt_vip: bool = Field(False, description="customers marked vip are never held out (they are counted)")


class Model(_Section):
    """How forecasts are fitted. The defaults come from a study on six logs and are tuned to none."""

    seed: int = Field(7, ge=0, description="of every random choice")
    trees: int = Field(150, ge=1, le=5000, description="small and many: 300 trees of 31 leaves lost .010 to .021 AUC")
    leaves: int = Field(8, ge=2, le=512, description="leaves a tree")
    learning_rate: float = Field(0.04, gt=0, le=1, description="shrinkage a tree")
    snapshots: int = Field(12, ge=1, le=200, description="training cutoffs, a third of the horizon apart")
    years_back: int = Field(1, ge=0, le=10, description="same-season snapshots: how many years back")
    rows: int = Field(24_000, ge=500, description="training rows at the most; more bought nothing in the study")
    families: list[str] = Field(
        default_factory=list, description="feature families to use; empty: all that have their tables"
    )
    threads: int = Field(
        1,
        ge=1,
        description="LightGBM threads; changes no result; more than the idle cores cost tenfold",
    )


class FeatureSettings(_Section):
    """A shop's own features."""

    modules: list[str] = Field(
        default_factory=list, description='files with @feature functions, such as "shop_features.py"'
    )


class Privacy(_Section):
    """What may enter a model."""

    columns_in_models: list[str] = Field(
        default_factory=list,
        description="columns of the customers table that models may see; demographics stay out by default",
    )


class Ingest(_Section):
    """When a table is too broken to go on."""

    max_bad_share: Share = Field(
        0.01, description="share of unusable rows above which ingest stops; below, they go to quarantine"
    )


class State(_Section):
    """Where results live."""

    folder: str = Field("var", description="beside holdfast.toml unless absolute")
    database: str | None = Field(None, description="SQLAlchemy URL of the ledger; absent: SQLite in the folder")
    tracking: str | None = Field(
        None, description="MLflow tracking URI; absent: MLFLOW_TRACKING_URI, else SQLite in the folder"
    )


class Config(BaseSettings):
    """Everything `holdfast.toml` can say. Paths in it are relative to the file."""

    model_config = SettingsConfigDict(
        extra="forbid", frozen=True, env_prefix="HOLDFAST_", env_nested_delimiter="__", case_sensitive=False
    )

    shop: Shop = Shop()
    tables: dict[str, Table] = Field(default_factory=dict)
    windows: WindowSettings = WindowSettings()
    economics: Economics = Economics()
    serving: Serving = Serving()
    model: Model = Model()
    features: FeatureSettings = FeatureSettings()
    privacy: Privacy = Privacy()
    ingest: Ingest = Ingest()
    state: State = State()
    _path: Path = PrivateAttr(default=Path("holdfast.toml"))

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """The environment comes before the file; no .env file and no secrets folder are read."""
        return env_settings, init_settings

    @model_validator(mode="after")
    def _tables_known(self) -> Config:
        for name in self.tables:
            if name not in TABLES:
                raise ValueError(f"no table is called {name!r}{_guess(name, TABLES)}")
        return self

    @property
    def path(self) -> Path:
        """The file this was read from."""
        return self._path

    @property
    def root(self) -> Path:
        """The folder that relative paths start from."""
        return self._path.resolve().parent

    @property
    def var(self) -> Path:
        """The folder of everything holdfast writes."""
        return self.root / self.state.folder

    @property
    def span(self) -> Windows:
        """The windows as the value that travels."""
        return Windows(self.windows.horizon, self.windows.active, self.windows.drop)

    @property
    def database_url(self) -> str:
        """Where the ledger is."""
        return self.state.database or f"sqlite:///{self.var / 'holdfast.db'}"

    @property
    def tracking_uri(self) -> str:
        """Where MLflow's runs are."""
        return self.state.tracking or os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{self.var / 'mlflow.db'}"

    def source_of(self, table: str) -> str:
        """A table's path, made absolute; a database URL as it is."""
        path = self.tables[table].path
        return path if "://" in path else str(self.root / path)


def load(path: str | Path = "holdfast.toml") -> Config:
    """Read the settings.

    Raises MissingInput where there is no file and BadConfiguration for anything it should not say, naming each key.
    """
    path = Path(path)
    try:
        said = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise MissingInput(
            "there is no configuration",
            where=str(path),
            do="run `holdfast init TABLE` to make one, or name it with --config",
        ) from None
    except IsADirectoryError:
        raise MissingInput("the configuration is a folder", where=str(path), do="name the file with --config") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BadConfiguration("the configuration is not TOML", where=str(path), got=str(error)) from None
    return build(said, path)


def build(said: Mapping[str, Any], path: Path) -> Config:
    """Settings from what a file said. Raises BadConfiguration."""
    try:
        config = Config(**dict(said))
    except ValidationError as error:
        raise BadConfiguration(
            "the configuration says what cannot be meant",
            where=str(path),
            got="\n           ".join(_complaint(e) for e in error.errors()),
            do="`docs/configuration.md` lists every setting; `holdfast check` prints the ones in force",
        ) from None
    config._path = path
    return config


def _complaint(error: Any) -> str:
    place = [str(part) for part in error["loc"]]
    if error["type"] == "extra_forbidden":
        return f"{_key(place)}: unknown key{_guess(place[-1], _keys_at(place[:-1]))}"
    got = error.get("input")
    shown = "" if isinstance(got, (Mapping, BaseModel)) else f", got {got!r}"
    return f"{_key(place)}: {error['msg'].removeprefix('Value error, ')}{shown}"


def _key(place: list[str]) -> str:
    if len(place) < 2:
        return place[0] if place else "holdfast.toml"
    return f"[{'.'.join(place[:-1])}] {place[-1]}"


def _guess(word: str, known: tuple[str, ...] | list[str]) -> str:
    near = difflib.get_close_matches(word.lower(), known, 1, cutoff=0.5)
    return f"; did you mean {near[0]!r}?" if near else f"; known: {', '.join(known)}"


def _keys_at(place: list[str]) -> list[str]:
    """The keys that may stand at a place of the file, such as ["tables", "purchases"]."""
    model: type[BaseModel] = Config
    for part in place:
        field = model.model_fields.get(part)
        if field is None:  # a name the user chose, inside [tables] or [economics.actions]
            continue
        kinds = (field.annotation, *getattr(field.annotation, "__args__", ()))
        model = next((kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel)), model)
    return list(model.model_fields)


def effective(config: Config) -> Iterator[tuple[str, Any, str]]:
    """Every setting in force: (key, value, where it came from: environment, file or default)."""
    said = tomllib.loads(config.path.read_text(encoding="utf-8")) if config.path.exists() else {}
    for section, model in config:
        for key, value in _flatten(section, model):
            yield key, value, _origin(key, said)


def _flatten(prefix: str, value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, BaseModel):
        for name, inner in value:
            yield from _flatten(f"{prefix}.{name}", inner)
    elif isinstance(value, dict) and value and all(isinstance(v, BaseModel) for v in value.values()):
        for name, inner in value.items():
            yield from _flatten(f"{prefix}.{name}", inner)
    else:
        yield prefix, value


def _origin(key: str, said: Mapping[str, Any]) -> str:
    parts = key.split(".")
    names = {name.upper() for name in os.environ}
    if any("HOLDFAST_" + "__".join(parts[:n]).upper() in names for n in range(1, len(parts) + 1)):
        return "environment"
    for part in parts:
        if not isinstance(said, Mapping) or part not in said:
            return "default"
        said = said[part]
    return "file"
