"""An output's name means one repository and branch, or is refused with the word on how to set it."""

import pytest

from crossfade_core.errors import OutputNameUnsafe
from crossfade_registries.hub.places import place_of
from crossfade_registries.hub.rights import why_not_writable
from crossfade_registries.settings import HubDestination


def destination(**fields):
    return HubDestination.model_validate({"kind": "hub", "namespace": "team", "credential": "c", **fields})


@pytest.mark.parametrize(
    ("fields", "name", "repo", "branch"),
    [
        ({}, "tuned-pad-0.5", "team/tuned-pad-0.5", "main"),
        ({}, "t" * 96, f"team/{'t' * 96}", "main"),
        ({"outputs": "branch"}, "tuned-pad/0.5", "team/tuned-pad", "0.5"),
        ({"outputs": "branch", "repo": "tuned"}, "0.5", "team/tuned", "0.5"),
        ({"outputs": "branch", "repo": "tuned"}, "other/0.5", "team/other", "0.5"),
    ],
)
def test_name_means_a_repository_or_a_branch(fields, name, repo, branch):
    place = place_of(destination(**fields), name)
    assert (place.output, place.repo, place.branch) == (name, repo, branch)


@pytest.mark.parametrize(
    ("fields", "name", "why"),
    [
        ({}, "a/b", r"set output_name to one part, for instance `\{instruct\}-pad-\{lambda\}`"),
        ({"outputs": "branch"}, "tuned", r"REPO/BRANCH, for instance `\{instruct\}-pad/\{lambda\}`$"),
        ({"outputs": "branch", "repo": "tuned"}, "a/b/c", "or to BRANCH alone"),
        ({}, "../other/repo", "use at most four parts"),
        ({}, "t" * 97, "cannot be a repository's name: 96 characters at most"),
        *(({}, name, "cannot be a repository's name") for name in ("a--b", "a..b", "a.git", "a.", "a-")),
        *(
            ({"outputs": "branch"}, f"tuned/{name}", "cannot be a branch's name")
            for name in ("a..b", "a.lock", "a.", "HEAD", "0" * 40)
        ),
    ],
)
def test_name_that_no_repository_or_branch_can_have_is_refused(fields, name, why):
    with pytest.raises(OutputNameUnsafe, match=why) as caught:
        place_of(destination(**fields), name)
    assert caught.value.details == {"output": name}


def whoami(role, *, orgs=(), kind="user"):
    return {"type": kind, "name": "Publisher", "orgs": list(orgs), "auth": {"accessToken": {"role": role}}}


@pytest.mark.parametrize(
    ("told", "why"),
    [
        (whoami("read", orgs=[{"name": "team", "roleInOrg": "admin"}]), "the token of Publisher may only read"),
        (whoami("write"), "Publisher is no member of team"),
        (whoami("write", orgs=[{"name": "Team", "roleInOrg": "read"}]), "Publisher may only read in team"),
        (whoami("write", orgs=[{"name": "Team", "roleInOrg": "contributor"}]), None),
        (whoami("fineGrained"), None),
        (whoami("write", kind="org"), None),
        ({"type": "app"}, None),
    ],
)
def test_only_what_is_certain_speaks_against_an_account(told, why):
    assert why_not_writable(told, "team") == why


def test_account_writes_in_its_own_namespace_whatever_its_case():
    assert why_not_writable(whoami("write"), "publisher") is None
