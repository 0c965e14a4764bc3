"""Runs the real `promtool`, whose binary `hack/promtool` finds; knows nothing of pytest."""

import functools
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml

from tests.chart.helm import NAMESPACE, REPOSITORY, of_kind, render

Object = dict[str, Any]
FIRING = 'count by (alertname) (ALERTS{alertstate="firing"})'


class PromtoolError(RuntimeError):
    """`promtool` refused rules, or found other alerts; the message is what it printed."""


@functools.cache
def promtool_binary() -> Path:
    """Return the path of `promtool`, which `hack/promtool` fetches the first time."""
    script = REPOSITORY / "hack" / "promtool"
    return Path(subprocess.run([sys.executable, script], stdout=subprocess.PIPE, text=True, check=True).stdout.strip())


def rules(values: Mapping[str, Any] | None = None) -> list[Object]:
    """Return the alerts of the chart, as the PrometheusRule has them."""
    (found,) = of_kind(render({"metrics": {"prometheusRule": {"enabled": True}}, **(values or {})}), "PrometheusRule")
    (group,) = found["spec"]["groups"]
    return list(group["rules"])


def check_rules(rules: list[Object]) -> None:
    """Have Prometheus read rules.

    Raises:
        PromtoolError: it cannot.
    """
    with tempfile.TemporaryDirectory() as directory:
        _promtool("check", "rules", _written(Path(directory), rules))


def check_firing(
    rules: list[Object], series: Mapping[str, str], expected: Mapping[str, Iterable[str]], *, interval: str = "1m"
) -> None:
    """Play series to Prometheus, and compare the alerts that fire.

    Args:
        rules: the alerts.
        series: samples from the epoch on, in the notation of promtool: metric with labels, and its values.
        expected: names of the alerts by the time after which they fire; that no others do is part of it.
        interval: between two samples, and two looks at the rules.

    Raises:
        PromtoolError: others fire, or fewer.
    """
    looks = [
        {
            "expr": FIRING,
            "eval_time": time,
            "exp_samples": [{"labels": f'{{alertname="{name}"}}', "value": 1} for name in sorted(names)],
        }
        for time, names in expected.items()
    ]
    samples = [{"series": name, "values": values} for name, values in series.items()]
    with tempfile.TemporaryDirectory() as directory:
        document = {
            "rule_files": [str(_written(Path(directory), rules))],
            "evaluation_interval": interval,
            "tests": [{"interval": interval, "input_series": samples, "promql_expr_test": looks}],
        }
        path = Path(directory) / "test.yaml"
        path.write_text(yaml.safe_dump(document))
        _promtool("test", "rules", path)


def named(metric: str, namespace: str = NAMESPACE, **labels: str) -> str:
    """Write a series as Prometheus has it: the operator's labels, and those of what it was read from."""
    text = ",".join(f'{name}="{value}"' for name, value in {"namespace": namespace, **labels}.items())
    return f"locus_operator_{metric}{{{text}}}"


def _written(directory: Path, rules: list[Object]) -> Path:
    path = directory / "rules.yaml"
    path.write_text(yaml.safe_dump({"groups": [{"name": "alerts", "rules": rules}]}))
    return path


def _promtool(*arguments: str | Path) -> None:
    command = [str(promtool_binary()), *map(str, arguments)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode != 0:
        raise PromtoolError(f"{result.stdout}\n{result.stderr}")
