"""Each alert fires when it should, and not before: judged by Prometheus' own promtool."""

from collections.abc import Mapping
from typing import Any

import pytest

from tests.chart.promtool import PromtoolError, check_firing, check_rules, named, rules

Object = dict[str, Any]
HOUR, DAY = 3600, 86400
ONE_DAY: Object = {"webhook": {"certificate": {"days": 1}}}
"""Certificates of one day, renewed after 16 hours."""


def healthy(minutes: int) -> dict[str, str]:
    """Two controllers, of which one works, and two webhooks with certificates of a month."""
    series: dict[str, str] = {
        named("leader", pod="c-1"): f"1x{minutes}",
        named("leader", pod="c-2"): f"0x{minutes}",
        named("last_sweep_timestamp_seconds", pod="c-1"): f"1+60x{minutes}",
        named("last_sweep_timestamp_seconds", pod="c-2"): f"0x{minutes}",
        named("uninjected_pods", pod="c-1"): f"0x{minutes}",
        named("stores", pod="c-1", backend="redis", reason="Ready"): f"7x{minutes}",
        named("stores", pod="c-1", backend="redis", reason="Suspended"): f"2x{minutes}",
        named("stores", pod="c-1", backend="redis", reason="Progressing"): f"1x{minutes}",
        named("drift_corrections_total", pod="c-1", backend="redis"): f"3x{minutes}",
    }
    for pod in ("w-1", "w-2"):
        series |= certificate(pod, f"{30 * DAY}x{minutes}", f"0x{minutes}")
        series[named("admissions_total", pod=pod, outcome="injected")] = f"0+5x{minutes}"
        series[named("admissions_total", pod=pod, outcome="fault")] = f"0x{minutes}"
    return series


def certificate(pod: str, end: str, begin: str) -> dict[str, str]:
    """What a webhook tells of its certificate."""
    return {
        named("webhook_served_certificate_expiry_timestamp_seconds", pod=pod): end,
        named("webhook_served_certificate_start_timestamp_seconds", pod=pod): begin,
    }


def check(changed: Mapping[str, str], expected: Mapping[str, list[str]], values: Object | None = None) -> None:
    """Let four hours pass in which all is well but for some series."""
    check_firing(rules(values), {**healthy(240), **changed}, expected)


def test_prometheus_reads_them() -> None:
    check_rules(rules())


def test_the_tests_would_see_an_alert_that_nobody_expects() -> None:
    with pytest.raises(PromtoolError, match="LocusOperatorPodsWithoutBinding"):
        check({named("uninjected_pods", pod="c-1"): "2x240"}, {"30m": []})


def test_none_fires_while_all_is_well() -> None:
    check({}, {"0m": [], "10m": [], "1h": [], "4h": []})


def test_no_controller_works() -> None:
    elsewhere = {named("leader", namespace="elsewhere"): "1x240"}
    stopped = {named("leader", pod="c-1"): "1x10 0x230"}
    check(stopped | elsewhere, {"15m": [], "17m": ["LocusOperatorNotWorking"]})


def test_nothing_is_there() -> None:
    check_firing(rules(), {}, {"4m": [], "6m": ["LocusOperatorNotWorking", "LocusOperatorWebhookNotServing"]})


def test_without_a_webhook_there_are_no_alerts_of_it() -> None:
    check_firing(rules({"webhook": {"enabled": False}}), {}, {"6m": ["LocusOperatorNotWorking"]})


class TestSweep:
    def test_it_has_stopped(self) -> None:
        stopped = {named("last_sweep_timestamp_seconds", pod="c-1"): "600x240"}
        check(stopped, {"45m": [], "47m": ["LocusOperatorSweepIsLate"]})

    def test_it_has_another_interval(self) -> None:
        stopped = {named("last_sweep_timestamp_seconds", pod="c-1"): "600x240"}
        values = {"controller": {"settings": {"driftIntervalSeconds": 1800}}}
        check(stopped, {"104m": [], "107m": ["LocusOperatorSweepIsLate"]}, values)

    def test_the_first_never_ends(self) -> None:
        never = {named("last_sweep_timestamp_seconds", pod="c-1"): "0x240"}
        check(never, {"34m": [], "36m": ["LocusOperatorSweepIsLate"]})

    def test_the_controller_is_killed_each_time_before_it_ends(self) -> None:
        name = "last_sweep_timestamp_seconds"
        restarts = {named(name, pod="c-1"): "1+60x19 _x220", named("leader", pod="c-1"): "1x19 _x220"}
        for number in range(11):
            sample = f"_x{20 * number + 19} {{}}x19 stale"
            restarts[named(name, pod=f"d-{number}")] = sample.format(0)
            restarts[named("leader", pod=f"d-{number}")] = sample.format(1)
        check(restarts, {"49m": [], "60m": ["LocusOperatorSweepIsLate"], "4h": ["LocusOperatorSweepIsLate"]})

    def test_a_controller_that_takes_over_has_time_for_its_first(self) -> None:
        change = {
            named("leader", pod="c-1"): "1x59 stale",
            named("last_sweep_timestamp_seconds", pod="c-1"): "1+60x59 stale",
            named("leader", pod="c-2"): "0x59 1x180",
            named("last_sweep_timestamp_seconds", pod="c-2"): "0x79 4800+60x160",
        }
        check(change, {f"{minutes}m": [] for minutes in range(50, 120, 3)})


class TestStores:
    @pytest.mark.parametrize("reason", ["BackendUnavailable", "Conflict", "Deleting", ""])
    def test_some_are_not_ready(self, reason: str) -> None:
        store = {named("stores", pod="c-1", backend="redis", reason=reason): "0x29 1x210"}
        check(store, {"44m": [], "46m": ["LocusOperatorStoresNotReady"]})

    def test_an_outage_passes(self) -> None:
        store = {named("stores", pod="c-1", backend="redis", reason="BackendUnavailable"): "0x29 9x13 0x200"}
        check(store, {"40m": [], "45m": [], "60m": []})

    def test_drift_keeps_coming_back(self) -> None:
        corrections = {named("drift_corrections_total", pod="c-1", backend="redis"): "0x9 " + _steps(22)}
        check(corrections, {"2h": [], "150m": ["LocusOperatorDriftKeepsComingBack"]})

    def test_much_drift_is_corrected_once(self) -> None:
        corrections = {named("drift_corrections_total", pod="c-1", backend="redis"): "3x30 5000x210"}
        check(corrections, {f"{minutes}m": [] for minutes in range(20, 240, 10)})

    def test_pods_lack_a_binding(self) -> None:
        check({named("uninjected_pods", pod="c-1"): "2x240"}, {"14m": [], "16m": ["LocusOperatorPodsWithoutBinding"]})


class TestWebhook:
    def test_none_has_a_certificate(self) -> None:
        without = certificate("w-1", "0x240", "0x240") | certificate("w-2", "0x240", "0x240")
        check(without, {"4m": [], "6m": ["LocusOperatorWebhookNotServing"]})

    def test_one_is_left(self) -> None:
        check(certificate("w-1", "0x240", "0x240"), {"1h": []})

    def test_a_fault_is_the_first_ever(self) -> None:
        fault = {named("admissions_total", pod="w-1", outcome="fault"): "0x59 1x180"}
        check(fault, {"58m": [], "61m": ["LocusOperatorWebhookFaults"], "90m": []})


class TestCertificate:
    """Samples of each ten minutes, or each hour, beside a healthy rest."""

    ALERT = "LocusOperatorWebhookCertificateEnds"

    def test_it_is_renewed_in_time(self) -> None:
        renewed = certificate("w-1", f"{DAY}x100 {DAY + 60_000}x100", "0x100 60000x100")
        self.check(renewed, {"17h": [], "18h30m": [], "24h": [], "30h": []}, ONE_DAY)

    def test_it_is_not_renewed(self) -> None:
        self.check(certificate("w-1", f"{DAY}x200", "0x200"), {"17h50m": [], "18h20m": [self.ALERT]}, ONE_DAY)

    def test_it_has_ended(self) -> None:
        self.check(certificate("w-1", f"{DAY}x200", "0x200"), {"30h": [self.ALERT]}, ONE_DAY)

    def test_one_that_was_made_for_a_shorter_time_is_judged_by_its_own(self) -> None:
        """The validity was made longer: what is served is renewed after two thirds of what it has itself."""
        self.check(certificate("w-1", f"{DAY}x200", "0x200"), {"17h50m": [], "18h20m": [self.ALERT]})

    @pytest.mark.parametrize(
        ("asked", "life", "expected"),
        [
            # 2160h, 720h: three quarters of a month are left.
            ({}, 90 * DAY, {"1600h": [], "1640h": [ALERT]}),
            # The issuer gives a year: it is renewed a month before.
            ({}, 365 * DAY, {"8000h": [], "8260h": [ALERT]}),
            # The issuer gives a day: cert-manager renews it when a third is left.
            ({}, DAY, {"17h": [], "20h": [ALERT]}),
            ({"duration": "2160h", "renewBefore": "100h"}, 90 * DAY, {"2080h": [], "2090h": [ALERT]}),
        ],
    )
    def test_cert_manager_did_not_renew_it(self, asked: Object, life: int, expected: Mapping[str, list[str]]) -> None:
        values = {"webhook": {"certificate": {"source": "certManager", **asked}}}
        hours = life // HOUR
        self.check(certificate("w-1", f"{life}x{hours}", f"0x{hours}"), expected, values, interval="1h")

    @pytest.mark.parametrize(
        ("life", "expected"), [(365 * DAY, {"8000h": [], "8060h": [ALERT]}), (40 * DAY, {"700h": [], "730h": [ALERT]})]
    )
    def test_nobody_has_brought_another(self, life: int, expected: Mapping[str, list[str]]) -> None:
        values = {"webhook": {"certificate": {"source": "existingSecret", "existingSecret": "tls"}}}
        hours = life // HOUR
        self.check(certificate("w-1", f"{life}x{hours}", f"0x{hours}"), expected, values, interval="1h")

    def check(
        self,
        certificates: Mapping[str, str],
        expected: Mapping[str, list[str]],
        values: Object | None = None,
        interval: str = "10m",
    ) -> None:
        only = [each for each in rules(values) if each["alert"] == self.ALERT]
        other = certificate("w-2", f"{1000 * DAY}x9000", "0x9000")
        check_firing(only, {**other, **certificates}, expected, interval=interval)


def _steps(number: int) -> str:
    """One correction in each interval of ten minutes."""
    return " ".join(f"{each}x9" for each in range(1, number + 1))
