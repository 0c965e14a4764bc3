"""An emulator of OCI Object Storage, spoken to by the real ``oci`` SDK.

It checks what the service checks (request signatures, permissions, ETags, name lengths, pages of 1,000) and enforces
lifecycle policies under a clock that tests can set forward. Below ``/admin/``, outside the service's paths, tests
register keys, inject faults, count requests and set the clock; see `admin`.
"""
