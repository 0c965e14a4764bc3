"""Errors as the service answers them: a status, a code and a message."""

from __future__ import annotations


class ServiceError(Exception):
    """An answer other than success.

    Args:
        status: HTTP status.
        code: the service's own code, such as ``ObjectNotFound``.
        message: for people.
    """

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message


def unauthenticated(why: str) -> ServiceError:
    """The request's signature does not prove who sent it."""
    # The service does not say why; the emulator does, so that a failing test can be understood.
    return ServiceError(401, "NotAuthenticated", f"The required information to complete authentication: {why}")


def no_bucket(bucket: str, namespace: str) -> ServiceError:
    """The bucket is missing, or hidden from the principal: the service does not tell which."""
    return ServiceError(
        404,
        "BucketNotFound",
        f"Either the bucket named '{bucket}' does not exist in the namespace '{namespace}' "
        "or you are not authorized to access it",
    )


def no_object(name: str, bucket: str) -> ServiceError:
    """The bucket is there, the object is not."""
    return ServiceError(404, "ObjectNotFound", f"The object '{name}' was not found in the bucket '{bucket}'")


def not_found() -> ServiceError:
    """The resource of another service is missing, or hidden from the principal."""
    return ServiceError(404, "NotAuthorizedOrNotFound", "Authorization failed or requested resource not found")


def if_match_failed() -> ServiceError:
    """The ETag is not the current one."""
    return ServiceError(412, "IfMatchFailed", "The If-Match header is incorrect")


def if_none_match_failed() -> ServiceError:
    """There is an object, although none was expected."""
    return ServiceError(412, "IfNoneMatchFailed", "The If-None-Match header is incorrect")
