"""Explanations of botocore's errors, in a line that says what to set and holds no key, secret or signed URL."""

from typing import cast
from urllib.parse import urlsplit

from boto3.exceptions import Boto3Error, RetriesExceededError, S3UploadFailedError
from botocore import exceptions as boto
from botocore.exceptions import ClientError
from s3transfer.exceptions import S3DownloadFailedError  # type: ignore[import-untyped]
from urllib3.exceptions import ProtocolError

from modelmill.core.errors import one_line

# What a request raises. botocore lets urllib3's error through where the body of an error answer breaks off.
ERRORS = (boto.BotoCoreError, ClientError, Boto3Error, S3DownloadFailedError, ProtocolError)

_CREDENTIALS = "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE"
_MISSING = {"NoSuchKey", "404", "NotFound"}
_REFUSED = {"InvalidAccessKeyId", "SignatureDoesNotMatch", "InvalidToken", "InvalidSecurity", "401", "Unauthorized"}
_DENIED = {"AccessDenied", "403", "Forbidden", "AllAccessDisabled", "AccountProblem"}
_EXPIRED = {"ExpiredToken", "ExpiredTokenException", "TokenRefreshRequired"}
_ELSEWHERE = {"301", "PermanentRedirect", "AuthorizationHeaderMalformed", "IllegalLocationConstraintException"}
_BUSY = {"SlowDown", "RequestTimeout"}
_NO_CREDENTIALS = (
    boto.NoCredentialsError,
    boto.PartialCredentialsError,
    boto.CredentialRetrievalError,
    boto.ProfileNotFound,
    boto.SSOError,
)


def code_of(error: BaseException) -> str:
    """Return the code of the store's error answer, such as `NoSuchKey` (of a HEAD, the HTTP status), or ''."""
    return str(error.response["Error"].get("Code", "")) if isinstance(error, ClientError) else ""


def is_missing(error: BaseException) -> bool:
    """Return whether an error says that there is no such object."""
    return code_of(_cause(error)) in _MISSING


def is_denied(error: BaseException) -> bool:
    """Return whether an error says that the credentials are good, and not for this."""
    return code_of(_cause(error)) in _DENIED


def is_passing(error: BaseException) -> bool:
    """Return whether the same may succeed in a while: nothing answers, or the store fails by its own account."""
    error = _cause(error)
    if isinstance(error, ClientError):
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        return (status >= 500 and status != 501) or code_of(error) in _BUSY
    connection = (boto.HTTPClientError, boto.IncompleteReadError, ProtocolError)
    return isinstance(error, connection) and not isinstance(error, boto.SSLError)


def reason_of(error: BaseException, bucket: str, endpoint: str) -> str:
    """Return why the store cannot be used, and what to set.

    Args:
        error: One of `ERRORS`, or the ValueError of an endpoint that is no URL.
        bucket: The bucket's name.
        endpoint: URL of the store, which may hold a password.
    """
    error, host = _cause(error), _host(endpoint)
    if isinstance(error, ClientError):
        return _answered(error, bucket, host)
    if isinstance(error, _NO_CREDENTIALS):
        return f"no usable credentials ({type(error).__name__}); set {_CREDENTIALS}"
    if isinstance(error, boto.SSLError):
        return f"the certificate of {host} is not trusted; set AWS_CA_BUNDLE to the file of its authority"
    if isinstance(error, boto.ConnectTimeoutError | boto.ReadTimeoutError):
        return f"{host} does not answer in time; check AWS_ENDPOINT_URL and the network"
    if isinstance(error, boto.ConnectionError):
        return f"cannot connect to {host}; check AWS_ENDPOINT_URL and that the store is running"
    if isinstance(error, boto.HTTPClientError | boto.IncompleteReadError | ProtocolError | OSError):
        return f"{host} broke the connection off again and again; check the network and try again"
    if isinstance(error, ValueError) and not isinstance(error, boto.BotoCoreError):
        return "AWS_ENDPOINT_URL is not a URL; write it as https://HOST:PORT"
    return f"boto3 cannot use its settings ({type(error).__name__}); check AWS_ENDPOINT_URL, AWS_REGION and ~/.aws"


def _answered(error: ClientError, bucket: str, host: str) -> str:
    code = code_of(error)
    if code == "NoSuchBucket":
        return f"{host} has no bucket {bucket}; create it, or name another with --store"
    if code in _REFUSED:
        return f"{host} refuses the credentials ({code}); set {_CREDENTIALS}"
    if code in _DENIED:
        return (
            f"{host} denies access ({code}); allow s3:GetObject, s3:PutObject, s3:DeleteObject and s3:ListBucket "
            f"on bucket {bucket}, or set {_CREDENTIALS}"
        )
    if code in _EXPIRED:
        return f"the credentials have expired ({code}); renew AWS_SESSION_TOKEN or log in again"
    if code == "RequestTimeTooSkewed":
        return f"this machine's clock differs from that of {host}; set it"
    if code in _ELSEWHERE:
        return f"bucket {bucket} is in another region ({code}); set AWS_DEFAULT_REGION to its region"
    if code in {"PreconditionFailed", "412"}:
        return "the object was replaced while it was read; try again"
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    if status == 501 or code == "NotImplemented":
        return f"{host} does not offer {error.operation_name} as it is needed; use a store with conditional writes"
    if status >= 500 or code in _BUSY:
        return f"{host} fails or is overloaded ({code}), also after several attempts; try again later"
    message = one_line(Exception(error.response["Error"].get("Message", "")))
    return f"{host} refuses {error.operation_name} ({code}): {message}"


def _cause(error: BaseException) -> BaseException:
    """Return the error that boto3's transfers wrap: that of the last attempt, or the answer that ended an upload."""
    if isinstance(error, RetriesExceededError):
        return cast(BaseException, error.last_exception)
    if isinstance(error, S3UploadFailedError) and isinstance(error.__context__, ClientError):
        return error.__context__
    return error


def _host(endpoint: str) -> str:
    """Return the endpoint without a user, a password or a path."""
    parts = urlsplit(endpoint)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}" if parts.netloc else endpoint
