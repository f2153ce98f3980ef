"""What S3 says when it refuses, in words that say what to do."""

from __future__ import annotations

from collections.abc import Iterator

from airflow_provider_pipetrack.errors import StorageError

_WRONG_KEY = {"InvalidAccessKeyId", "SignatureDoesNotMatch", "InvalidToken", "InvalidClientTokenId", "AuthFailure"}
_OLD_KEY = {"ExpiredToken", "RequestExpired"}
_NO_BUCKET = {"NoSuchBucket", "404"}
_NO_RIGHT = {"AccessDenied", "AllAccessDisabled", "403", "Forbidden"}
_ELSEWHERE = {"PermanentRedirect", "AuthorizationHeaderMalformed", "301", "IllegalLocationConstraintException"}
_TOO_LARGE = {"EntityTooLarge", "MaxMessageLengthExceeded"}


def code_of(error: BaseException) -> str:
    """Return the code that S3 gave an error, or an empty text."""
    answer = getattr(error, "response", None)
    return str(answer.get("Error", {}).get("Code", "")) if isinstance(answer, dict) else ""


def is_about_keys(error: BaseException) -> bool:
    """Return whether S3 does not take the keys that a client has, or no more."""
    return code_of(error) in _WRONG_KEY | _OLD_KEY


def explained(error: BaseException, location: str, conn_id: str, bucket: str, root: str) -> StorageError:
    """Return an error that says what happened and what to do, without repeating the connection's secrets.

    :param root: the part of the bucket that is used.
    """
    text = " ".join(str(error).split())[:500] or type(error).__name__
    name = f"connection {conn_id!r}"
    for applies, message in _lasting_reasons(error, text, bucket, root):
        if applies:
            return StorageError(location, f"{name}: {message}", transient=False)
    from botocore.exceptions import ConnectionError as BotoConnectionError
    from botocore.exceptions import HTTPClientError

    if isinstance(error, (BotoConnectionError, HTTPClientError, OSError)):
        return StorageError(location, f"{name} cannot be reached: {text}")
    return StorageError(location, f"{name}: {type(error).__name__}: {text}")


def _lasting_reasons(error: BaseException, text: str, bucket: str, root: str) -> Iterator[tuple[bool, str]]:
    """Yield what stays wrong until a person changes something: whether it is this, and what to do."""
    from botocore.exceptions import NoCredentialsError, ParamValidationError, PartialCredentialsError

    code = code_of(error)
    missing = "there is no such Airflow connection; define it, or name another under tracking.connections"
    yield "isn't defined" in text, missing
    yield code in _NO_BUCKET, f"there is no bucket {bucket!r}; make it"
    yield (
        code in _NO_RIGHT,
        (
            f"its user may not use s3://{bucket}/{root}: allow it s3:ListBucket on the bucket, and s3:GetObject, "
            f"s3:PutObject and s3:DeleteObject on {bucket}/{root}*"
        ),
    )
    yield code in _WRONG_KEY, f"wrong access key ({code})"
    yield code in _OLD_KEY, "its token has expired"
    yield code in _ELSEWHERE, f"the bucket {bucket!r} is in another region ({text}); set region_name in its extra"
    yield code in _TOO_LARGE, f"a record is too large for S3 ({text})"
    nobody = isinstance(error, (NoCredentialsError, PartialCredentialsError))
    yield nobody, f"has no access key, and the machine has none either ({text})"
    yield isinstance(error, (ParamValidationError, ValueError, TypeError)), f"cannot be used: {text}"
