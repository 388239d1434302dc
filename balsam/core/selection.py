"""Which jobs a command is about: one value for every way of naming some of them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from django.db.models import F, Q, TextField
from django.db.models.fields.json import KeyTextTransform
from django.db.models.functions import Cast

from balsam import states
from balsam.core.ids import as_uuid, uuid_range
from balsam.core.lookups import any_of, glob_regex, is_glob
from balsam.errors import AmbiguousId, InvalidValue, NoSuchJob, nearest

if TYPE_CHECKING:
    from balsam.core.querysets import JobQuerySet

#: Instead of an id: the job that was added last.
LAST = "last"
#: The end of a UUID stands for it from so many digits on; fewer name too many jobs.
SHORTEST_SUFFIX = 4
#: Beyond so many workflows, their names are compared in the query.
MOST_WORKFLOWS = 300
#: Up to so many jobs of one name are found by their ids, once the name has been searched for.
MOST_NAMESAKES = 100


@dataclass(frozen=True)
class Selection:
    """Criteria that hold together; within one criterion any of its values will do.

    ``words`` are ids, ``last``, or names, and the number of a job is never taken for a name;
    ``names``, ``workflows`` and ``apps`` are exact or globs;
    ``tags`` are ``KEY`` or ``KEY=VALUE``; ``since`` and ``until`` (aware) are about the last change
    of state; ``last`` keeps the newest so many of what is left. With ``parts``, names and workflows
    that are no globs stand for all that contain them, and an id for all it may abbreviate.
    """

    words: tuple[str, ...] = ()
    ids: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    workflows: tuple[str, ...] = ()
    apps: tuple[str, ...] = ()
    states: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    parents: tuple[str, ...] = ()
    since: datetime | None = None
    until: datetime | None = None
    last: int = 0
    parts: bool = False

    def __bool__(self) -> bool:
        """Whether it says anything at all."""
        return self != Selection(parts=self.parts)

    def of(self, jobs: JobQuerySet) -> JobQuerySet:
        """Those of ``jobs`` that are meant.

        Raises NoSuchJob and AmbiguousId for words and ids, InvalidValue for a state there is not.
        """
        for text_field, texts in [
            ("name", self.names),
            ("app__name", self.apps),
        ]:
            if texts:
                jobs = jobs.filter(any_of(self._text(text_field, text) for text in texts))
        if self.workflows:
            jobs = jobs.filter(any_of(self._workflow(jobs, text) for text in self.workflows))
        if self.states:
            jobs = jobs.filter(state__in=[_state(text) for text in self.states])
        for tag in self.tags:
            jobs = _tagged(jobs, tag)
        if self.parents:
            from balsam.core.models.dependency import Dependency

            everything = jobs.model._default_manager.all()
            parents = [int(everything.find(text).pk) for text in self.parents]
            edges = Dependency.objects.filter(parent__in=parents)
            jobs = jobs.filter(id__in=edges.values("child"))
        if self.since is not None:
            jobs = jobs.filter(state_timestamp__gte=self.since)
        if self.until is not None:
            jobs = jobs.filter(state_timestamp__lt=self.until)
        if "" in self.ids:
            raise InvalidValue("An empty id names no job; is a variable unset?")
        if self.ids:
            jobs = jobs.filter(any_of(self._id(jobs, text) for text in self.ids))
        if self.words:
            jobs = jobs.filter(any_of(self._word(jobs, text) for text in self.words))
        if self.last:
            newest = jobs.order_by("-id").values_list("id", flat=True)[: self.last]
            jobs = jobs.model._default_manager.filter(id__in=list(newest))
        return jobs

    def _text(self, field: str, text: str) -> Q:
        if is_glob(text):  # and a name may hold such a character
            return Q(**{f"{field}__glob": text}) | Q(**{field: text})
        return Q(**{f"{field}__icontains" if self.parts else field: text})

    def _workflow(self, jobs: JobQuerySet, text: str) -> Q:
        """By whole names, which an index finds."""
        if not (is_glob(text) or self.parts):
            return Q(workflow=text)
        names = jobs.model._default_manager.all().workflow_names()
        if is_glob(text):
            fits = re.compile(glob_regex(text), re.DOTALL).match
            found = [name for name in names if name == text or fits(name)]
        else:
            part = text.lower()
            found = [name for name in names if part in name.lower()]
        if len(found) > MOST_WORKFLOWS:
            return self._text("workflow", text)
        return Q(workflow__in=found)

    def one_of(self, jobs: JobQuerySet) -> Any:
        """The one job of ``jobs`` that is meant.

        Raises NoSuchJob and AmbiguousId.
        """
        found = list(self.of(jobs)[:2])
        if len(found) == 1:
            return found[0]
        if found:
            raise AmbiguousId(
                f"'{' '.join(self.words)}' names more than one job "
                f"({', '.join(job.cute_id for job in found)}, ...); give an id."
            )
        raise NoSuchJob("No job found matching query.")

    def _id(self, jobs: JobQuerySet, text: str) -> Q:
        if self.parts and text != LAST:
            return Q(id__in=jobs.named_by(text).values("id"))
        return Q(id=jobs.find(text).pk)

    def _word(self, jobs: JobQuerySet, text: str) -> Q:
        if is_glob(text):
            return Q(name__glob=text) | Q(name=text)
        number = _number(text)
        if number is not None and jobs.model._default_manager.filter(id=number).exists():
            return Q(id=number)
        by_id = [] if text == LAST else list(jobs.named_by(text).values_list("id", flat=True)[:2])
        # No index has the names, so that the few jobs that share one are looked for once.
        named = list(jobs.filter(name=text).values_list("id", flat=True)[: MOST_NAMESAKES + 1])
        if by_id and named:
            some = " or ".join(str(key) for key in dict.fromkeys([by_id[0], named[0]]))
            raise AmbiguousId(
                f"'{text}' is both a name and digits of a UUID; say the number of the job, {some}."
            )
        if named:
            return Q(name=text) if len(named) > MOST_NAMESAKES else Q(id__in=named)
        if not by_id and text != LAST:
            raise NoSuchJob(
                f"No job has the id or the name '{text}'; 'balsam ls --columns id,name' lists "
                f"both, and '*{text}*' stands for all names that contain it."
            )
        return Q(id=jobs.find(text).pk)


def named_by(jobs: JobQuerySet, text: str) -> JobQuerySet:
    """Jobs that an id may mean: an integer, else the beginning, else the end of a UUID."""
    if text == LAST:
        return jobs.filter(id__in=list(jobs.order_by("-id").values_list("id", flat=True)[:1]))
    key = as_uuid(text)
    if key is not None:
        return jobs.filter(job_id=key)
    number = _number(text)
    if number is not None:
        exact = jobs.filter(pk=number)
        if exact.exists():
            return exact
    found = uuid_range(text)
    if found is None:
        return jobs.none()
    low, high = found
    by_prefix = jobs.filter(job_id__gte=low, job_id__lte=high)
    if by_prefix.exists():
        return by_prefix
    digits = text.replace("-", "").lower()
    if len(digits) < SHORTEST_SUFFIX:
        return jobs.none()
    return jobs.filter(job_id__endswith=digits)


def _number(text: str) -> int | None:
    """``text`` as the integer id that it may be.

    Those are written without leading zeros; UUIDs begin with one for some centuries to come.
    """
    plain = text.isascii() and text.isdecimal() and len(text) < 19
    return int(text) if plain and str(int(text)) == text else None


def _state(text: str) -> str:
    name = text.upper().replace("-", "_")
    if name in states.STATES:
        return name
    raise InvalidValue(f"There is no state '{text}'{nearest(name, states.STATES)}.")


def _tagged(jobs: JobQuerySet, tag: str) -> JobQuerySet:
    key, equals, value = tag.partition("=")
    if not key.strip():
        raise InvalidValue(f"A tag is KEY or KEY=VALUE, not '{tag}'.")
    if not equals:
        return jobs.filter(tags__has_key=key)
    written = Cast(KeyTextTransform(key, F("tags")), TextField())
    return jobs.alias(one_tag=written).filter(one_tag=value)
