"""The stand-in for AWX does what AWX does where its answers differ from what was sent."""

from __future__ import annotations

from typing import Any

import pytest

from tests.awx import stub


@pytest.fixture
def awx() -> stub.Awx:
    return stub.Awx(playbooks={"site.yml"}, inventories={"inventories/dev/hosts"})


def read(one: stub.Awx, project: int) -> None:
    """Wait until AWX has read a project."""
    update = max(at for at, each in one.updates.items() if each["project"] == project)
    while not one.look_at_update(update)["finished"]:
        pass


def project(one: stub.Awx) -> int:
    """A project that AWX has read."""
    given = {"name": "p", "organization": 1, "scm_type": "git", "scm_url": "https://git.example.com/p.git"}
    made: int = one.create("projects", given)["id"]
    read(one, made)
    return made


def template(one: stub.Awx, **more: Any) -> dict[str, Any]:
    """A job template."""
    at = next(iter(one.objects["projects"]), 0) or project(one)
    inventory = (
        next(iter(one.objects["inventories"]), 0) or one.add("inventories", {"name": "i", "organization": 1})["id"]
    )
    given = {"name": "t", "project": at, "inventory": inventory, "playbook": "site.yml"}
    return one.create("job_templates", given | more)


def test_null_is_an_empty_text_and_blanks_go(awx: stub.Awx) -> None:
    made = awx.create("inventories", {"name": " i ", "organization": 1, "kind": None, "host_filter": None})
    assert (made["name"], made["kind"], made["host_filter"]) == ("i", "", None)


def test_field_without_type_gets_one(awx: stub.Awx) -> None:
    inputs = {"fields": [{"id": "a", "label": "A"}]}
    made = awx.create("credential_types", {"name": "c", "kind": "cloud", "inputs": inputs})
    assert made["inputs"]["fields"][0]["type"] == "string"


def test_fields_of_a_type_in_use_stay(awx: stub.Awx) -> None:
    made = awx.create("credential_types", {"name": "c", "kind": "cloud", "inputs": {"fields": []}})
    awx.create("credentials", {"name": "c", "organization": 1, "credential_type": made["id"]})
    with pytest.raises(stub.Refused) as refused:
        awx.change("credential_types", awx.objects["credential_types"][made["id"]], {"inputs": {"fields": [_field()]}})
    assert refused.value.status == 403


def _field(**more: Any) -> dict[str, Any]:
    return {"id": "a", "label": "A", "type": "string", **more}


@pytest.mark.parametrize(
    "wrong",
    [{"default": 1}, {"choices": []}, {"type": "boolean", "secret": True}, {"id": "a-b"}, {"ask_at_runtime": True}],
)
def test_fields_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(stub.Refused):
        stub.check_credential_type({"inputs": {"fields": [_field(**wrong)]}, "injectors": {}})


@pytest.mark.parametrize(
    "injectors",
    [
        {"env": {"PATH": "x"}},
        {"env": {"X": "\u00e9"}},
        {"env": {"X": "{{ tower }}"}},
        {"file": {"config": "x"}},
        {"args": {}},
    ],
)
def test_injectors_refused(injectors: dict[str, Any]) -> None:
    with pytest.raises(stub.Refused):
        stub.check_credential_type({"inputs": {"fields": []}, "injectors": injectors})


def test_nothing_of_a_project_is_known_before_it_is_read(awx: stub.Awx) -> None:
    given = {"name": "p", "organization": 1, "scm_type": "git", "scm_url": "https://git.example.com/p.git"}
    made = awx.create("projects", given)
    assert made["summary_fields"]["current_update"]["status"] == "pending"
    with pytest.raises(stub.Refused):
        template(awx)
    with pytest.raises(stub.Refused) as refused:
        awx.remove("projects", made["id"])
    assert refused.value.status == 409
    read(awx, made["id"])
    template(awx)


def test_names_are_taken_whatever_else_differs(awx: stub.Awx) -> None:
    template(awx)
    other = awx.add("inventories", {"name": "other", "organization": 1})
    with pytest.raises(stub.Refused):
        template(awx, inventory=other["id"])


def test_label_goes_with_the_last_that_has_it(awx: stub.Awx) -> None:
    label = awx.create("labels", {"name": "l", "organization": 1})["id"]
    one, two = (awx.objects["job_templates"][template(awx, name=name)["id"]] for name in "ab")
    for each in (one, two):
        awx.associate(each, "labels", {"id": label})
    awx.associate(one, "labels", {"id": label, "disassociate": True})
    assert label in awx.objects["labels"]
    awx.remove("job_templates", two["id"])
    assert label not in awx.objects["labels"]


def test_inventory_goes_later(awx: stub.Awx) -> None:
    made = template(awx)
    awx.deletion = 60
    assert awx.remove("inventories", made["inventory"]) == 202
    awx.settle()
    assert awx.listed("inventories", {"pending_deletion": "True"})
    assert awx.objects["job_templates"][made["id"]]["inventory"] is None
    with pytest.raises(stub.Refused) as refused:
        awx.remove("inventories", made["inventory"])
    assert refused.value.status == 400


def test_node_outlives_its_template(awx: stub.Awx) -> None:
    made = template(awx)
    workflow = awx.create("workflow_job_templates", {"name": "w", "organization": 1})
    given = {"identifier": "n", "workflow_job_template": workflow["id"], "unified_job_template": made["id"]}
    node = awx.create("workflow_job_template_nodes", given)["id"]
    awx.remove("job_templates", made["id"])
    assert awx.objects["workflow_job_template_nodes"][node]["unified_job_template"] is None


def test_pages() -> None:
    first = stub.paged(list(range(30)), "/api/v2/labels/", {"order_by": "id"})
    assert (first["count"], len(first["results"]), first["next"]) == (30, 25, "/api/v2/labels/?order_by=id&page=2")
    assert stub.paged(list(range(30)), "/api/v2/labels/", {"page": "2"})["results"] == list(range(25, 30))
    assert len(stub.paged(list(range(300)), "/api/v2/labels/", {"page_size": "500"})["results"]) == 200


@pytest.mark.parametrize("image", ["ee:1", "localhost/ee:1", "r.example.com:5000/a/b-c@sha256:" + "0" * 64])
def test_images_taken(image: str, awx: stub.Awx) -> None:
    assert awx.create("execution_environments", {"name": "e", "image": image})["image"] == image


@pytest.mark.parametrize("image", ["", "https://r.example.com/ee:1", "r.example.com/EE:1", "ee 1"])
def test_images_refused(image: str, awx: stub.Awx) -> None:
    with pytest.raises(stub.Refused):
        awx.create("execution_environments", {"name": "e", "image": image})


@pytest.mark.parametrize("wrong", [{"required": "yes"}, {"default": None}, {"min": "2"}, {"type": "multiplechoice"}])
def test_questions_refused(wrong: dict[str, Any]) -> None:
    question = {"variable": "v", "question_name": "V", "type": "text", "required": True} | wrong
    with pytest.raises(stub.Refused):
        stub.check_survey({"name": "s", "description": "", "spec": [question]})


@pytest.mark.parametrize(
    "rule",
    [
        "DTSTART:20260101T020000 RRULE:FREQ=DAILY;INTERVAL=1",
        "DTSTART:20260101T020000Z RRULE:FREQ=SECONDLY;INTERVAL=1",
        "DTSTART:20260101T020000Z RRULE:FREQ=DAILY;INTERVAL=1;COUNT=1000",
        "DTSTART:20260101T020000Z RRULE:FREQ=DAILY;INTERVAL=1 EXDATE:20260102T020000Z",
        "DTSTART;TZID=Nowhere/Land:20260101T020000 RRULE:FREQ=DAILY;INTERVAL=1",
    ],
)
def test_rules_refused(rule: str) -> None:
    with pytest.raises(stub.Refused):
        stub.check_rrule(rule)
