"""The bench itself: what it reads, what it concludes, and when it refuses to conclude."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

import boto3
import pytest

from bench import __main__ as command
from bench import figures, floor, machine, moto_server, report, sides, waits
from bench.figures import Step

ROOT = Path(__file__).resolve().parents[2]
SECONDS = {
    ("terraform", "apply"): 100.0,
    ("terraform", "noop"): 8.0,
    ("terraform", "destroy"): 70.0,
    ("ours", "converge"): 40.0,
    ("ours", "noop"): 6.0,
    ("ours", "again"): 6.0,
    ("ours", "full"): 25.0,
    ("ours", "destroy"): 20.0,
    ("stock", "noop"): 90.0,
    ("floor", "noop"): 2.0,
    ("floor", "threads"): 1.5,
    ("ten", "converge"): 160.0,
    ("ten", "noop"): 18.0,
    ("up", "second"): 12.0,
}


def steps(rounds: int = 5, others: float = 0.01, **changed: float) -> list[Step]:
    """Steps of a quiet machine; `changed` has wall seconds by side_step."""
    made = []
    for number in range(1, rounds + 1):
        for (side, step), seconds in SECONDS.items():
            wall = changed.get(f"{side}_{step}", seconds)
            made.append(Step(number, side, step, wall, wall / 2, 0.5, 97 if side == "terraform" else 60, others))
    return made


def results(some: list[Step], rounds: int = 5) -> report.Results:
    return report.Results("2026-01-01", {"processor": "2 cores"}, rounds, some, [])


def row(some: list[Step], begin: str) -> figures.Goal:
    (found,) = [goal for goal in figures.goals(some, []) if goal.measure.startswith(begin)]
    return found


def test_all_goals_are_met_by_figures_that_meet_them() -> None:
    rows = [goal for goal in figures.goals(steps(), []) if goal.goal]
    assert [goal.met for goal in rows] == ["met"] * 9
    assert figures.noise(steps()) == []


@pytest.mark.parametrize(
    ("changed", "begin"),
    [
        ({"ours_noop": 9.0}, "no-op `site.yml`, wall, against Terraform"),
        ({"ours_noop": 9.0}, "no-op `site.yml`, CPU, against Terraform"),
        ({"ours_converge": 51.0}, "first converge"),
        ({"ours_destroy": 36.0}, "`destroy`"),
        ({"ten_converge": 201.0}, "ten stacks in one run against one stack, first"),
        ({"ten_noop": 31.0}, "ten stacks in one run against one stack, no-op"),
        ({"up_second": 15.1}, "second `make up`"),
    ],
)
def test_a_goal_that_is_missed_is_said_to_be(changed: dict[str, float], begin: str) -> None:
    assert row(steps(), begin).met == "met"
    assert row(steps(**changed), begin).met == "not met"


def test_one_call_more_than_terraforms_misses_the_goal() -> None:
    some = [step._replace(calls=97) if step.side == "ours" else step for step in steps()]
    assert row(some, "AWS calls").met == "met"
    worse = [step._replace(calls=98) if step.key == figures.NOOP and step.round == 3 else step for step in some]
    assert row(worse, "AWS calls").met == "not met"


def test_one_early_wait_misses_the_goal() -> None:
    assert figures.goal_of_waits([]).met == "met"
    assert figures.goal_of_waits(["x came too late"]).met == "not met"
    assert figures.goal_of_waits(None).met == ""


def test_a_ratio_is_of_neighbours_and_the_median_of_rounds() -> None:
    # Round by round 1, 2, 3, 4, 100: whoever divides medians gets another number.
    pairs = [(10, 10), (40, 20), (30, 10), (4, 1), (100, 1)]
    some = []
    for number, (ours, theirs) in enumerate(pairs, 1):
        some += [Step(number, "ours", "noop", ours, 1, 0, 1, 0), Step(number, "terraform", "noop", theirs, 1, 0, 1, 0)]
    assert figures.ratios(some[::-1], figures.NOOP, figures.TERRAFORM_NOOP, figures.wall) == [1, 2, 3, 4, 100]
    assert row(some, "no-op `site.yml`, wall, against Terraform").value == 3


def test_without_terraform_its_rows_say_so_and_others_stand_in() -> None:
    some = [step for step in steps() if step.side != "terraform"]
    missing = row(some, "no-op `site.yml`, wall, against Terraform")
    assert (missing.value, missing.met) == (None, "")
    assert "no terraform noop here" in missing.text
    assert "no terraform noop here" in row(some, "AWS calls").text
    assert row(some, "no-op `site.yml`, wall, against stock").value == pytest.approx(6 / 90)
    assert row(some, "no-op `site.yml`, wall, against the same calls").value == pytest.approx(3)
    assert "not measured: no terraform noop here" in figures.table(figures.goals(some, []))


def test_a_busy_machine_is_refused_with_figure_and_threshold() -> None:
    (sentence, *_) = figures.noise(steps(others=0.11))
    assert "11%" in sentence
    assert "10%" in sentence
    # One bad round of five is what medians are for.
    some = [step._replace(others=0.9) if step.round == 2 else step for step in steps()]
    assert figures.noise(some) == []


def test_scattered_ratios_are_refused_with_figure_and_threshold() -> None:
    some = [step._replace(wall=step.round * 3.0) if step.key == figures.NOOP else step for step in steps()]
    (sentence, *_) = figures.noise(some)
    assert "67% of the median" in sentence
    assert "25%" in sentence


def conclude(monkeypatch: pytest.MonkeyPatch, folder: Path, kept: report.Results, **chosen: Any) -> int:
    monkeypatch.setattr(sides, "ROOT", folder)
    (folder / "docs").mkdir(exist_ok=True)
    return command.conclude(kept, argparse.Namespace(**{"no_stock": False, "no_ten": False, **chosen}))


def test_nothing_is_written_on_a_noisy_machine(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert conclude(monkeypatch, tmp_path, results(steps(others=0.5))) == 1
    assert list((tmp_path / "docs").iterdir()) == []
    output = capsys.readouterr().out
    assert "too noisy" in output
    assert "| measure" not in output


@pytest.mark.parametrize(("rounds", "chosen"), [(4, {}), (5, {"no_stock": True}), (5, {"no_ten": True})])
def test_nothing_is_written_by_less_than_a_whole_run(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, rounds: int, chosen: dict[str, bool]
) -> None:
    assert conclude(monkeypatch, tmp_path, results(steps(rounds), rounds), **chosen) == 0
    assert list((tmp_path / "docs").iterdir()) == []


def test_a_whole_run_writes_the_document_and_the_plot(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert conclude(monkeypatch, tmp_path, results(steps())) == 0
    text = (tmp_path / "docs/benchmarks.md").read_text()
    assert (
        "| no-op `site.yml`, wall, against Terraform's no-op apply | ≤ 1 | 0.75 (0.75 to 0.75, 5 rounds) | met |"
        in text
    )
    assert "| stock Ansible, no-op | 5 | 90.0 (90.0 to 90.0) | 45.0 (45.0 to 45.0) | 0.5 | 60 | 1% |" in text
    assert "2026-01-01" in text
    assert "| processor | 2 cores |" in text
    picture = ElementTree.fromstring((tmp_path / "docs/benchmarks.svg").read_text())
    bars = [one for one in picture.iter("{http://www.w3.org/2000/svg}rect") if float(one.attrib["y"]) > 30]
    # Wall and CPU of four sides with nothing to change, and of two each from and to nothing.
    assert len(bars) == 16
    assert max(float(bar.attrib["width"]) for bar in bars) == report.WIDTH


def test_kept_figures_of_several_runs_are_one(tmp_path: Path) -> None:
    for name, rounds in (("a", 2), ("b", 3)):
        (tmp_path / name).write_text(json.dumps(results(steps(rounds), rounds)._asdict()))
    loaded = report.load([tmp_path / "a", tmp_path / "b"])
    assert loaded.rounds == 5
    assert [step.round for step in figures.of(loaded.steps, figures.NOOP)] == [1, 2, 3, 4, 5]


def test_the_cpu_of_an_orphan_in_its_own_session_counts(tmp_path: Path) -> None:
    burn = "import time; t = time.process_time()\nwhile time.process_time() - t < 0.5: pass"
    orphan = f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', {burn!r}], start_new_session=True)"
    cost = tmp_path / "cost"
    script = [sys.executable, str(ROOT / "bench/cpu.py"), str(cost), sys.executable, "-c", orphan]
    subprocess.run(script, check=True)
    found = json.loads(cost.read_text())
    assert found["code"] == 0
    assert found["cpu"] >= 0.5
    assert found["total"] > found["wall"]


def test_a_failed_command_says_its_code(tmp_path: Path) -> None:
    cost = tmp_path / "cost"
    subprocess.run([sys.executable, str(ROOT / "bench/cpu.py"), str(cost), "false"], check=True)
    assert json.loads(cost.read_text())["code"] == 1


def test_what_the_shell_has_set_for_another_aws_reaches_no_side() -> None:
    shell = {
        "AWS_PROFILE": "x",
        "ANSIBLE_FORKS": "1",
        "TF_LOG": "x",
        "MLFLOW_FAST": "0",
        "HOME": "/home",
        "PATH": "/bin",
    }
    kept = sides.own_environment(shell)
    assert kept["HOME"] == "/home"
    assert not {"AWS_PROFILE", "ANSIBLE_FORKS", "TF_LOG", "MLFLOW_FAST"} & set(kept)


def test_ten_stacks_have_the_settings_of_the_one(tmp_path: Path) -> None:
    inventory = sides.ten_inventory(tmp_path)
    program = [str(Path(sys.executable).parent / "ansible-inventory"), "-i", str(inventory), "--list"]
    listed = json.loads(subprocess.run(program, cwd=ROOT, check=True, capture_output=True, text=True).stdout)
    hosts = listed["_meta"]["hostvars"]
    assert len(hosts) == 10
    assert {one["mlflow_stack_name"] for one in hosts.values()} == {"{{ inventory_hostname }}"}
    assert {one["mlflow_size"] for one in hosts.values()} == {"small"}


@pytest.mark.parametrize(("file", "expected"), [("main.tf", ""), ("README", "no Terraform configuration")])
def test_a_missing_yardstick_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, file: str, expected: str
) -> None:
    (tmp_path / file).touch()
    monkeypatch.setattr(sides.shutil, "which", lambda _: "/bin/terraform")
    assert sides.why_no_terraform(tmp_path).startswith(expected)
    assert bool(sides.why_no_terraform(tmp_path)) is bool(expected)


def test_a_missing_terraform_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "main.tf").touch()
    monkeypatch.setattr(sides.shutil, "which", lambda _: None)
    assert sides.why_no_terraform(tmp_path) == "no terraform in PATH"


def test_the_machine_knows_what_it_spends() -> None:
    before, own = machine.busy(), machine.cpu_of(os.getpid())
    end = time.process_time() + 0.3
    while time.process_time() < end:
        pass
    assert machine.cpu_of(os.getpid()) - own >= 0.25
    assert machine.busy() - before >= 0.2


# The order of calls.

NAT = "ec2 DescribeNatGateways"


def calls(*lines: tuple[str, float, str]) -> list[waits.Call]:
    """The calls of a log with these lines."""
    return waits.parse([f"{name}\t{seconds}\t{pending}\n" for name, seconds, pending in lines])


def test_a_wait_is_a_silence_before_the_same_question() -> None:
    asked = calls((NAT, 1, "NatGateway"), ("ec2 DescribeAddresses", 1.1, ""), (NAT, 6.1, ""), ("s3 PUT", 7, ""))
    assert [(wait.kind, wait.at) for wait in waits.waits(asked)] == [("NatGateway", 2)]
    assert waits.early(asked) == [f"s3 PUT came after the wait in which {NAT} saw a pending NatGateway"]


@pytest.mark.parametrize(
    "asked",
    [
        # Asked again at once, or by another role much later while calls go on: nobody waited.
        calls((NAT, 1, "NatGateway"), (NAT, 1.5, "NatGateway"), ("s3 PUT", 2, "")),
        calls(
            (NAT, 1, "NatGateway"),
            *[(f"ec2 Describe{n}", 1 + n, "") for n in range(9)],
            (NAT, 10, ""),
            ("s3 PUT", 11, ""),
        ),
        # Silent, for another reason.
        calls((NAT, 1, "NatGateway"), ("ec2 DescribeVpcs", 9, ""), ("s3 PUT", 11, "")),
        # Nothing was pending.
        calls((NAT, 1, ""), (NAT, 9, ""), ("s3 PUT", 11, "")),
        # What follows needs it.
        calls((NAT, 1, "NatGateway"), (NAT, 9, ""), ("ec2 CreateRoute", 11, ""), ("ecs CreateService", 12, "")),
        # What follows makes nothing.
        calls((NAT, 1, "NatGateway"), (NAT, 9, ""), ("s3 GET ?tagging", 11, ""), ("ec2 DescribeVpcs", 12, "")),
    ],
)
def test_what_is_no_early_wait(asked: list[waits.Call]) -> None:
    assert waits.early(asked) == []


def test_a_route_does_not_need_the_database() -> None:
    asked = calls(
        ("rds DescribeDBInstances", 1, "DBInstance"), ("rds DescribeDBInstances", 9, ""), ("ec2 CreateRoute", 11, "")
    )
    assert len(waits.early(asked)) == 1


def test_a_log_without_times_is_no_log_of_waits() -> None:
    with pytest.raises(ValueError, match="unpack"):
        waits.parse(["ec2 DescribeVpcs\n"])


# The server's log, and the floor that sends it again.


@pytest.mark.parametrize(
    ("env", "body", "name"),
    [
        ({"REQUEST_METHOD": "POST", "HTTP_X_AMZ_TARGET": "Service.DescribeClusters"}, b"{}", "ecs DescribeClusters"),
        ({"REQUEST_METHOD": "POST"}, b"Action=DescribeVpcs&Version=1", "ecs DescribeVpcs"),
        ({"REQUEST_METHOD": "GET", "QUERY_STRING": "versioning"}, b"", "ecs GET ?versioning"),
        ({"REQUEST_METHOD": "GET"}, b"", "ecs GET"),
    ],
)
def test_a_call_has_a_name(env: dict[str, str], body: bytes, name: str) -> None:
    scope = {"HTTP_AUTHORIZATION": "AWS4-HMAC-SHA256 Credential=KEY/20260101/eu-west-1/ecs/aws4_request, x"}
    assert moto_server.call_name({**scope, **env}, body) == name


@pytest.mark.parametrize(
    ("service", "method", "path", "query", "expected"),
    [
        ("s3", "GET", "/bucket", "tagging", "GetBucketTagging"),
        ("s3", "HEAD", "/bucket", "", "HeadBucket"),
        ("s3", "GET", "/bucket/a/key", "", "GetObject"),
        ("efs", "GET", "/2015-02-01/file-systems", "CreationToken=x", "DescribeFileSystems"),
    ],
)
def test_the_floor_knows_the_operation_of_a_rest_call(
    service: str, method: str, path: str, query: str, expected: str
) -> None:
    client = boto3.client(service, region_name="eu-west-1", aws_access_key_id="x", aws_secret_access_key="x")
    call = {"name": "", "target": None, "body": "", "method": method, "path": path, "query": query}
    assert floor.operation(client, call).name == expected


def test_the_server_holds_back_what_takes_its_time_and_the_floor_repeats_the_calls(tmp_path: Path) -> None:
    with sides.Cloud(tmp_path, pending=2) as cloud:
        keys = {"aws_access_key_id": "a", "aws_secret_access_key": "b", "region_name": "eu-west-1"}
        ec2 = boto3.client("ec2", endpoint_url=cloud.url, **keys)
        vpc = ec2.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
        subnet = ec2.create_subnet(VpcId=vpc, CidrBlock="10.0.0.0/24")["Subnet"]["SubnetId"]
        ec2.create_nat_gateway(SubnetId=subnet, ConnectivityType="private")
        assert [one["State"] for one in ec2.describe_nat_gateways()["NatGateways"]] == ["pending"]
        time.sleep(2.1)
        assert [one["State"] for one in ec2.describe_nat_gateways()["NatGateways"]] == ["available"]
        logged = waits.parse(cloud.calls())
        assert [call.pending for call in logged] == ["", "", "NatGateway", "NatGateway", ""]
        elb = boto3.client("elbv2", endpoint_url=cloud.url, **keys)
        elb.create_load_balancer(Name="x", Subnets=[subnet])
        logged = waits.parse(cloud.calls())
        assert logged[-1].pending == "FakeLoadBalancer"
        asked = [one for one in cloud.records() if json.loads(one)["name"].startswith("ec2 Describe")]
        record = tmp_path / "reads"
        record.write_text("\n".join(asked))
        for threads in ("1", "4"):
            script = [sys.executable, "-m", "bench.floor", str(record), threads]
            subprocess.run(script, cwd=ROOT, env=cloud.environment(), check=True)
        again = [call.name for call in waits.parse(cloud.calls())[len(logged) :]]
        assert again == ["ec2 DescribeNatGateways"] * 4
