"""SQL that creates a table, and what brings one that an earlier version made up to date."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from jobs.table_spec import WITHIN_UNIT, Table, quoted

__all__ = ["FEED", "alterations", "create_statement"]

FEED = "delta.enableChangeDataFeed"  # property of a table
_CHECK = "delta.constraints."  # property of a table, followed by the constraint's name
# Properties: the columns, or how many of the first ones, of which a file's extremes are kept.
_STATS, _STATS_OF_FIRST = "delta.dataSkippingStatsColumns", "delta.dataSkippingNumIndexedCols"


def create_statement(table: Table, name: str) -> str:
    """Return the statement that creates the table under a name of SQL, unless it is there."""
    properties = {FEED: "true", **_skipping(table)}
    properties |= {f"{_CHECK}{name}": rule for name, rule in table.checks.items()}
    listed = ", ".join(f"'{name}' = '{quoted(value)}'" for name, value in properties.items())
    cluster = f" CLUSTER BY ({', '.join(table.cluster_by)})" if table.cluster_by else ""
    return (
        f"CREATE TABLE IF NOT EXISTS {name} ({table.ddl}) USING delta"
        f"{cluster} COMMENT '{quoted(table.comment)}' TBLPROPERTIES ({listed})"
    )


def alterations(table: Table, columns: Collection[str], properties: Mapping[str, str]) -> list[str]:
    """Return what ALTER TABLE has to do to a table that an earlier version may have made.

    columns, properties: of the table that is there. Constraints of other names than ours are
    somebody else's, and stay, as does another choice of columns by which files are skipped. A
    column that is added may be null, whatever its description says: rows that are there have no
    value.
    """
    checks = {
        key.removeprefix(_CHECK): rule for key, rule in properties.items() if key.startswith(_CHECK)
    }
    ours = {name: rule for name, rule in checks.items() if _is_ours(table, name)}
    outdated = [
        name for name, rule in ours.items() if _words(table.checks.get(name)) != _words(rule)
    ]
    added = [name for name in table.checks if name in outdated or name not in checks]
    missing = [column for column in table.columns if column.name not in columns]
    is_chosen = bool({_STATS, _STATS_OF_FIRST} & set(properties))
    skipping = [] if is_chosen else list(_skipping(table).items())
    return [
        *(f"DROP CONSTRAINT `{name}`" for name in outdated),
        *(
            f"ADD COLUMNS (`{column.name}` {column.type} COMMENT '{quoted(column.comment)}')"
            for column in missing
        ),
        *(f"ADD CONSTRAINT `{name}` CHECK ({table.checks[name]})" for name in added),
        *(f"SET TBLPROPERTIES ('{name}' = '{value}')" for name, value in skipping),
    ]


def _skipping(table: Table) -> dict[str, str]:
    """Table properties that say by which columns files are skipped."""
    columns = ",".join(table.skipping_columns)
    return {_STATS: columns} if columns else {}


def _is_ours(table: Table, check: str) -> bool:
    return check in table.checks or check.endswith(WITHIN_UNIT)


def _words(condition: str | None) -> str:
    """An SQL condition without its white space, which Delta may not keep."""
    return "".join((condition or "").split())
