"""Certificates of the webhook: what is in them, when they are renewed, and what is no certificate to serve with."""

import ipaddress
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID
from cryptography.x509.verification import PolicyBuilder, Store
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from locus_operator.certificates import (
    BACKDATED,
    ServingCertificate,
    UnusableError,
    authorities_in,
    is_ours,
    issue,
    read,
)
from locus_operator.controller.certificates import Timing, names_of
from locus_operator.settings import Settings

NOW = datetime(2026, 11, 23, 18, 7, 4, 250_000, tzinfo=UTC)
NAMES = names_of("webhook", "locus-system")
NINETY_DAYS = timedelta(days=90)
MOMENT = timedelta(seconds=1)


def made(names: frozenset[str] = NAMES, validity: timedelta = NINETY_DAYS, now: datetime = NOW) -> ServingCertificate:
    return issue(sorted(names), validity, now)


def verify(served: ServingCertificate, trusted: str, name: str, now: datetime) -> None:
    """Verify as a strict client does; raises what it has against it."""
    store = Store(x509.load_pem_x509_certificates(trusted.encode()))
    verifier = PolicyBuilder().store(store).time(now).build_server_verifier(x509.DNSName(name))
    verifier.verify(served.certificate, [])


def test_it_is_for_the_names_by_which_the_api_server_and_others_call_the_service() -> None:
    served = made()

    found = served.certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert set(found.get_values_for_type(x509.DNSName)) == {
        "webhook.locus-system.svc",
        "webhook.locus-system.svc.cluster.local",
    }
    for name in NAMES:
        verify(served, served.bundle(NOW), name, NOW)


def test_the_longest_names_that_kubernetes_allows_fit() -> None:
    names = names_of("s" * 63, "n" * 63)
    served = made(names)

    verify(served, served.bundle(NOW), min(names), NOW)


def test_an_address_is_an_address() -> None:
    served = made(NAMES | {"10.0.0.7", "fd00::7"})

    found = served.certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert set(found.get_values_for_type(x509.IPAddress)) == {
        ipaddress.ip_address("10.0.0.7"),
        ipaddress.ip_address("fd00::7"),
    }
    assert served.why_replace(NAMES | {"10.0.0.7", "fd00::7"}, NINETY_DAYS, NOW) == ""


def test_the_keys_may_do_what_they_are_for_and_nothing_else() -> None:
    served = made()
    (authority,) = served.authorities

    def usages(certificate: x509.Certificate) -> set[str]:
        usage = certificate.extensions.get_extension_for_class(x509.KeyUsage)
        assert usage.critical
        names = ("digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement")
        return {name for name in (*names, "key_cert_sign", "crl_sign") if getattr(usage.value, name)}

    def constraints(certificate: x509.Certificate) -> x509.BasicConstraints:
        found = certificate.extensions.get_extension_for_class(x509.BasicConstraints)
        assert found.critical
        return found.value

    assert usages(authority) == {"key_cert_sign"}
    assert constraints(authority) == x509.BasicConstraints(ca=True, path_length=0)
    assert usages(served.certificate) == {"digital_signature"}
    assert constraints(served.certificate) == x509.BasicConstraints(ca=False, path_length=None)
    purposes = served.certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(purposes) == [ExtendedKeyUsageOID.SERVER_AUTH]


def test_the_secret_holds_one_key_and_it_is_not_that_of_the_ca() -> None:
    served = made()

    entries = served.entries(NOW)

    assert set(entries) == {"tls.crt", "tls.key", "ca.crt"}
    assert [name for name, value in entries.items() if "PRIVATE KEY" in value] == ["tls.key"]
    assert served.authorities[0].public_key() != served.certificate.public_key()
    assert entries["tls.key"] not in repr(served)


def test_what_is_written_is_read_again() -> None:
    served = made().trusting(made().authorities)

    assert len(served.authorities) == 2
    assert read(served.entries(NOW)) == served


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"tls.crt": ""}, "it lacks tls.crt"),
        ({"tls.key": "", "ca.crt": ""}, "it lacks tls.key, ca.crt"),
        ({"tls.crt": "nonsense"}, "tls.crt is no certificate"),
        ({"tls.key": "nonsense"}, "tls.key is no private key"),
        ({"tls.key": made().key}, "tls.crt and tls.key do not belong together"),
        ({"ca.crt": made().bundle(NOW)}, "no CA in ca.crt has issued tls.crt"),
        ({"ca.crt": "nonsense"}, "no CA in ca.crt has issued tls.crt"),
    ],
)
def test_what_cannot_be_served_with_is_told(change: dict[str, str], why: str) -> None:
    with pytest.raises(UnusableError, match=why):
        read(made().entries(NOW) | change)


# When


@settings(deadline=None, max_examples=25)
@given(
    now=st.datetimes(datetime(2000, 1, 1), datetime(2150, 1, 1), timezones=st.just(UTC)),
    validity=st.timedeltas(timedelta(seconds=10), timedelta(days=3650)).map(
        lambda each: timedelta(seconds=int(each.total_seconds()))
    ),
)
def test_it_serves_from_now_to_its_end_and_is_renewed_at_two_thirds(now: datetime, validity: timedelta) -> None:
    served = made(validity=validity, now=now)

    assert served.certificate.not_valid_before_utc <= now
    assert now + validity - MOMENT < served.expiry <= now + validity
    share = (served.renewal(validity) - now) / validity
    assert 0.61 - MOMENT / validity < share < 0.72
    assert served.why_replace(NAMES, validity, now) == ""
    assert served.why_replace(NAMES, validity, served.renewal(validity) - MOMENT / 1000) == ""
    assert served.why_replace(NAMES, validity, served.renewal(validity)) != ""
    for moment in (now, served.renewal(validity), served.expiry):
        verify(served, _bundle_pem(served), min(NAMES), moment.replace(microsecond=0))


def _bundle_pem(served: ServingCertificate) -> str:
    return served.bundle(served.certificate.not_valid_before_utc)


def test_the_moment_of_renewal_differs_from_certificate_to_certificate_and_not_from_look_to_look() -> None:
    many = [made() for _ in range(20)]

    assert len({each.renewal(NINETY_DAYS) for each in many}) > 10
    assert [read(each.entries(NOW)).renewal(NINETY_DAYS) for each in many] == [
        each.renewal(NINETY_DAYS) for each in many
    ]


def test_a_certificate_that_was_made_for_longer_than_is_wanted_now_is_renewed_as_if_it_had_not() -> None:
    served = made(validity=timedelta(days=3650))

    assert "it ends at" in served.why_replace(NAMES, NINETY_DAYS, NOW + timedelta(days=70))
    assert served.why_replace(NAMES, timedelta(days=3650), NOW + timedelta(days=70)) == ""


def test_a_clock_that_was_wrong_is_noticed() -> None:
    served = made(now=NOW + timedelta(days=365))

    assert served.why_replace(NAMES, NINETY_DAYS, NOW).startswith("it begins only at 2027-")
    assert served.why_replace(NAMES, NINETY_DAYS, NOW + timedelta(days=365) - BACKDATED + MOMENT) == ""


def test_another_name_needs_another_certificate() -> None:
    served = made()

    assert served.why_replace(NAMES | {"10.0.0.7"}, NINETY_DAYS, NOW) == "it is not for 10.0.0.7"
    assert served.why_replace(frozenset({min(NAMES)}), NINETY_DAYS, NOW) == ""


# What is trusted


def test_the_ca_of_the_certificate_before_is_trusted_until_that_one_ends() -> None:
    old = made()
    renewed = old.renewal(NINETY_DAYS)
    new = made(now=renewed).trusting(old.authorities)

    for name in NAMES:
        verify(old, new.bundle(renewed), name, renewed)
        verify(new, new.bundle(renewed), name, renewed)
    assert authorities_in(new.bundle(old.expiry - MOMENT)) == (*new.authorities[:1], *old.authorities)
    assert authorities_in(new.bundle(old.expiry)) == new.authorities[:1]


def test_no_more_than_two_cas_are_trusted_over_many_renewals() -> None:
    now, served = NOW, made()
    for _ in range(10):
        now = served.renewal(NINETY_DAYS)
        served = read(made(now=now).trusting(served.authorities).entries(now))
        assert len(served.authorities) == 2


def test_cas_of_ours_are_known_by_their_name() -> None:
    ours = made()

    assert [is_ours(each) for each in (*ours.authorities, ours.certificate)] == [True, False]
    assert made().authorities[0].subject != ours.authorities[0].subject


# Settings


def test_the_api_server_may_take_five_seconds_to_see_a_ca_and_the_secret_is_looked_at_every_ten() -> None:
    assert Timing.of(NINETY_DAYS) == Timing(check=10, settle=5)
    assert Timing.of(timedelta(seconds=24)) == Timing(check=1.2, settle=1.2)


@pytest.mark.parametrize("lacking", ["webhook_configuration", "webhook_service"])
def test_a_certificate_needs_to_be_for_something(lacking: str) -> None:
    given = {"webhook_certificate_secret": "tls", "webhook_configuration": "locus", "webhook_service": "webhook"}

    Settings.model_validate(given)
    with pytest.raises(ValidationError, match=f"write LOCUS_OPERATOR_{lacking.upper()} beside .*_CERTIFICATE_SECRET"):
        Settings.model_validate({name: value for name, value in given.items() if name != lacking})
