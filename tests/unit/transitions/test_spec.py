"""A spec survives the trip through a pipe."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from balsam.transitions import spec as specs
from balsam.transitions.spec import ParentFiles, StepSpec

PARENTS = st.lists(st.builds(ParentFiles, st.text(), st.text(), st.text()), max_size=3).map(tuple)


@given(
    st.builds(
        StepSpec,
        token=st.text(min_size=1),
        job_id=st.integers(),
        kind=st.sampled_from(specs.KINDS),
        label=st.text(),
        state=st.text(),
        done_state=st.text(),
        workdir=st.text(),
        data_dir=st.text(),
        parents=PARENTS,
        command=st.text() | st.just("\udcff not UTF-8"),
        env=st.dictionaries(st.text(), st.text(), max_size=3),
        time_limit=st.floats(0, 1e9),
        handler=st.booleans(),
    )
)
def test_to_json_and_back(spec: StepSpec) -> None:
    line = spec.to_json()
    assert line.isascii() and "\n" not in line
    assert StepSpec.from_json(line) == spec
