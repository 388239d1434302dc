"""What runs is left alone by commands that change or remove, and named; kill and retry reach it."""

from __future__ import annotations

from balsam import states

from .conftest import Site


def test_a_running_job_is_skipped_and_named(site: Site) -> None:
    site.shell("busy", "touch here; sleep 600")
    site.shell("idle", "true", wait_for_parents=True, parents=[site.named("busy")])
    launcher = site.start("--consume-all", "--persistent")
    site.until(lambda: site.state("busy") == states.RUNNING, "the job runs")
    label = site.named("busy").cute_id

    said = site.balsam("modify --name '*' num_nodes 7 --yes")
    assert "num_nodes of 1 jobs changed to:  7\n" in said
    assert f"Skipped 1 (running or leased): {label}\n" in said
    assert label in site.balsam("modify busy num_nodes 7", code=1)
    site.balsam('modify busy tags \'{"seen": "yes"}\'')
    assert f"Skipped 1 (running or leased; 'balsam kill' stops them): {label}\n" in site.balsam(
        "rm jobs busy --yes", code=1
    )
    assert f"is {states.RUNNING}; only jobs that failed" in site.balsam("retry busy", code=1)

    assert site.balsam("kill busy --yes") == "Job killed\n"
    site.until(lambda: not site.named("busy").session_id, "the launcher lets go")
    assert site.state("idle") == states.FAILED
    site.balsam("modify --name '*' num_nodes 1 --yes")
    assert "1 job will be tried again\n1 that failed because" in site.balsam("retry busy")
    site.until(lambda: site.state("busy") == states.RUNNING, "it runs again")
    site.balsam("kill --state RUNNING --yes")
    site.until(lambda: not site.named("busy").session_id, "the launcher lets go")
    launcher.process.terminate()
    launcher.wait()
    assert site.named("busy").tags == {"seen": "yes"}
    assert site.named("busy").attempt == 2
    site.check_clean()
