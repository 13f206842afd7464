"""An explanation for people: the verdict first, then how it came to that, then what to do."""

from collections.abc import Sequence

from rich.console import Console
from rich.text import Text

from shared.operate.explain.wording import span
from shared.operate.explain.words import Explanation, Outcome, Receiver, Step, Verdict
from shared.runtime.clock import utc_text

_WIDTH_MAX = 1000
_STYLES = {
    Outcome.TOLD: "bold green",
    Outcome.WAITS: "bold yellow",
    Outcome.NOT_TOLD: "bold red",
    Outcome.UNKNOWN: "bold",
}


def print_explanation(found: Explanation) -> None:
    """A terminal wraps long lines, so that what is to be copied stays in one."""
    console = Console(soft_wrap=True, width=_WIDTH_MAX, highlight=False)
    several = len(found.verdicts) > 1
    if several:
        console.print(Text(found.headline, _STYLES[found.outcome]))
    shared = _shared_steps(found.verdicts) if several else ()
    if shared:
        console.print(Text(_timeline(shared)))
    for verdict in found.verdicts:
        if several:
            console.print()
        console.print(Text(verdict.headline, _STYLES[verdict.outcome]))
        console.print(Text(f"  {_receiver_text(verdict.receiver)}: {verdict.reason}", "dim"))
        steps = [step for step in verdict.steps if step not in shared]
        if steps:
            console.print(Text(_timeline(steps, shared)))
        for advice in verdict.advice:
            console.print(Text(f"  {advice.text}"))
            if advice.command is not None:
                console.print(Text(f"      {advice.command}", "bold"))


def _shared_steps(verdicts: Sequence[Verdict]) -> list[Step]:
    """Those of the event alone, which stand in every timeline."""
    return [
        step for step in verdicts[0].steps if all(step in verdict.steps for verdict in verdicts)
    ]


def _timeline(steps: Sequence[Step], before: Sequence[Step] = ()) -> str:
    """Each with the time since the one above it, `before` being the last of those far above."""
    rows: list[tuple[str, str, str, str]] = []
    last = before[-1].at if before else None
    for step in steps:
        passed = (
            "" if step.at is None or last is None or step.at < last else f"+{span(step.at - last)}"
        )
        at = "" if step.at is None else utc_text(step.at)
        rows.append((at, passed, step.what, _plain(step.text)))
        last = step.at or last
    width = max(len(passed) for _, passed, _, _ in rows)
    noun = max(len(what) for _, _, what, _ in rows)
    return "\n".join(
        f"  {at:24}  {passed:>{width}}  {what:{noun}}  {text}" for at, passed, what, text in rows
    )


def _receiver_text(receiver: Receiver) -> str:
    user = f" of {receiver.user}" if receiver.user and receiver.kind != "user" else ""
    detail = f", {receiver.detail}" if receiver.detail else ""
    return _plain(f"{receiver.kind} {receiver.id}{user}{detail}")


def _plain(text: str) -> str:
    """Nothing in it can speak to the terminal."""
    return "".join(letter if letter.isprintable() else "�" for letter in text)
