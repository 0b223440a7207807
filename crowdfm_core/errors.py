"""The one exception tree of the project.

Every message says what was expected, what came, where it was found (table, column, project,
file) and what to do next.
"""

__all__ = [
    "ConfigError",
    "CrowdFMError",
    "InputError",
    "MemoryBudgetError",
    "RunError",
    "ScoringError",
    "UndefinedMethodError",
    "WeightsError",
]


class CrowdFMError(Exception):
    """Base of every error that a user can act on; command lines print it without a traceback."""


class ConfigError(CrowdFMError):
    """Raised when a configuration or a recipe is refused; carries all of its problems at once."""

    def __init__(self, problems: list[str], *, where: str) -> None:
        self.problems = list(problems)
        listed = "\n".join(f"  - {problem}" for problem in self.problems)
        super().__init__(f"{where}: {len(self.problems)} problem(s)\n{listed}")


class InputError(CrowdFMError):
    """Raised when an input table, file or frame cannot be used as a whole."""


class WeightsError(CrowdFMError):
    """Raised when frozen weights or their manifest cannot be loaded or do not belong together."""


class ScoringError(CrowdFMError):
    """Raised when a batch cannot be scored or a result breaks an invariant."""


class MemoryBudgetError(ScoringError):
    """Raised before a batch is scored that needs more memory than it may take."""


class UndefinedMethodError(ScoringError):
    """Raised when a method has no meaning on a project, such as two-option ones on three options.

    `reason` says why, without the method's name.
    """

    def __init__(self, method: str, reason: str) -> None:
        self.reason = reason
        super().__init__(f"{method} is undefined here: {reason}")


class RunError(CrowdFMError):
    """Raised when a run fails on what happens beside it; running again repairs everything."""
