"""An examination always comes to its end."""

from __future__ import annotations

from collections.abc import Iterator

from balsam.doctor.examination import CHECKS, examine, guarded, healthy
from balsam.doctor.finding import FIXED, OK, PROBLEM, Finding, ok, problem, warning
from balsam.doctor.patient import Patient
from balsam.errors import ProjectError

NOBODY = Patient(None, "There is no project here.")


def test_a_check_that_breaks_is_a_problem_and_keeps_what_it_found() -> None:
    def look(patient: Patient) -> Iterator[Finding]:
        yield ok("this", "is well")
        raise ZeroDivisionError("of\nsomething")

    first, second = guarded("this", look, NOBODY)
    assert first.status == OK
    assert second.status == PROBLEM
    assert "ZeroDivisionError: of something" in second.says
    assert "bug-report" in second.repair


def test_an_error_of_balsam_is_said_in_its_own_words() -> None:
    def look(patient: Patient) -> Iterator[Finding]:
        raise ProjectError("The marker is gone; restore it.")
        yield

    (only,) = guarded("this", look, NOBODY)
    assert (only.status, only.says) == (PROBLEM, "The marker is gone; restore it.")


def test_what_the_system_refuses_is_named() -> None:
    def look(patient: Patient) -> Iterator[Finding]:
        raise PermissionError(13, "Permission denied", "/some/file")
        yield

    (only,) = guarded("this", look, NOBODY)
    assert only.says == "the system refused /some/file: Permission denied"


def test_warnings_do_not_make_ill() -> None:
    assert healthy([ok("a", "b"), warning("a", "b"), ok("c", "d").fixed("e")])
    assert not healthy([ok("a", "b"), problem("a", "b")])


def test_a_cured_finding_says_what_was_wrong_and_what_was_done() -> None:
    found = problem("a", "it was ill", "do this", lambda: "").fixed("better now")
    assert (found.status, found.says, found.repair) == (FIXED, "it was ill: better now", "")
    assert found.cure is None


def test_without_a_project_the_machine_is_examined() -> None:
    found = list(examine(NOBODY, fix=True))
    by_check = {finding.check: finding for finding in found}
    assert by_check["project"].status == PROBLEM
    assert by_check["project"].says == "There is no project here."
    assert {"disk", "mpi", "scheduler", "versions"} <= set(by_check)
    assert set(by_check) <= {name for name, _ in CHECKS}
