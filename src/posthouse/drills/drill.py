"""What every drill is: a number, words for people, and a course of events that ends in findings."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import ClassVar

from posthouse.demo.node_process import SERVE
from posthouse.drills.ground import Ground
from posthouse.drills.plan import Plan
from posthouse.drills.report import Findings


class Drill(ABC):
    """One drill with its plan. Describing it costs nothing; :meth:`run` does it."""

    number: ClassVar[str]
    title: ClassVar[str]
    #: What has to be in the way of a node that is somebody else's; None: it can be drilled too.
    needs_own_node: ClassVar[str | None] = None
    #: The module that is the drill's own node, with its first arguments.
    program: ClassVar[Sequence[str]] = SERVE

    def __init__(self, plan: Plan) -> None:
        self.plan = plan

    @property
    def is_own(self) -> bool:
        """Whether the node is the drill's own."""
        return self.plan.against is None

    @abstractmethod
    def given(self) -> list[str]:
        """What stands before anything happens."""

    @abstractmethod
    def when(self) -> list[str]:
        """What happens."""

    def left_out(self) -> list[str]:
        """Parts that this node cannot be put through, and why."""
        return []

    def surroundings(self) -> AbstractContextManager[Sequence[str]]:
        """What has to be there before the drill's own node starts, and the options that the node needs for it."""
        return nullcontext(())

    @abstractmethod
    def run(self, ground: Ground) -> Findings:
        """Do it, and measure. Raises DrillFailed or NodeFailed if it cannot be finished."""
