"""The Kubernetes API server of a cluster, where a kubeconfig or the pod's own account opens it."""

import contextlib
import json
import logging
import os
from collections.abc import Iterator
from typing import Any

from modelmill.core.errors import ModelmillError, UserError, one_line

_TIMEOUT = (3, 30)
Document = dict[str, Any]


class NotAsked(ModelmillError):
    """The API server cannot be asked from here; the message says why."""


class ApiServer:
    """The API server that KUBECONFIG, ~/.kube/config or the pod's own account names.

    Attributes:
        name: Context of the kubeconfig.
    """

    def __init__(self) -> None:
        """Read the kubeconfig; nothing is asked yet.

        Raises:
            NotAsked: There is none, and this is no pod.
        """
        from kubernetes import client, config

        # Said here, because the library reads the variable when it is imported.
        file = os.environ.get("KUBECONFIG") or "~/.kube/config"
        settings = client.Configuration()
        settings.retries = False
        try:
            self.name = str(config.list_kube_config_contexts(file)[1]["name"])
            config.load_kube_config(file, client_configuration=settings)
        except config.ConfigException:
            try:
                self.name = "this pod's cluster"
                config.load_incluster_config(client_configuration=settings)
            except config.ConfigException:
                raise NotAsked("no kubeconfig here (KUBECONFIG, ~/.kube/config)") from None
        self._client = client.ApiClient(settings)

    def get(self, path: str) -> Document | None:
        """Return the document at a path, None if there is none.

        Args:
            path: Path of the API, such as `/api/v1/namespaces/default/pods/NAME`.

        Raises:
            NotAsked: The server does not answer.
            UserError: This is not allowed.
            ModelmillError: The server failed.
        """
        return self._asked("GET", path, missing=True)

    def text(self, path: str) -> str:
        """Return the text at a path, such as a pod's log.

        Args:
            path: Path of the API.

        Raises:
            NotAsked: The server does not answer.
            UserError: This is not allowed, or there is none.
            ModelmillError: The server failed.
        """
        with self._explained("GET", path):
            return self._call("GET", path)

    def create(self, path: str, document: Document) -> None:
        """Create an object.

        Args:
            path: Path of the collection.
            document: The object.

        Raises:
            NotAsked: The server does not answer.
            UserError: The server refuses it.
            ModelmillError: The server failed.
        """
        self._asked("POST", path, document)

    def delete(self, path: str) -> None:
        """Delete an object; one that is not there is no error.

        Args:
            path: Path of the object.

        Raises:
            NotAsked: The server does not answer.
            UserError: This is not allowed.
            ModelmillError: The server failed.
        """
        self._asked("DELETE", path, missing=True)

    def _asked(self, verb: str, path: str, body: Document | None = None, missing: bool = False) -> Document | None:
        from kubernetes.client import ApiException

        with self._explained(verb, path):
            try:
                answer = self._call(verb, path, body)
            except ApiException as error:
                if missing and error.status == 404:
                    return None
                raise
            document: Document = json.loads(answer)
            return document

    def _call(self, verb: str, path: str, body: Document | None = None) -> str:
        path, _, query = path.partition("?")
        self._client.call_api(
            path,
            verb,
            query_params=[tuple(pair.split("=", 1)) for pair in query.split("&") if pair],
            header_params={"Accept": "application/json, */*", "Content-Type": "application/json"},
            body=body,
            auth_settings=["BearerToken"],
            _request_timeout=_TIMEOUT,
        )
        return str(self._client.last_response.data)

    @contextlib.contextmanager
    def _explained(self, verb: str, path: str) -> Iterator[None]:
        """Turn what the client raises into one line."""
        import urllib3
        from kubernetes.client import ApiException

        # A refused connection is said once, below.
        logging.getLogger("urllib3.connectionpool").setLevel(logging.ERROR)
        where = f"Kubernetes ({self.name})"
        try:
            yield
        except ApiException as error:
            what = f"{where}: {verb} {path.partition('?')[0]}: {error.status} {_message(error)}"
            raise UserError(what) if 400 <= (error.status or 0) < 500 else ModelmillError(what) from None
        except (urllib3.exceptions.HTTPError, OSError, ValueError) as error:
            raise NotAsked(f"{where} does not answer ({one_line(error)[:200]})") from None


def _message(error: Any) -> str:
    body = error.body.decode("utf-8", "replace") if isinstance(error.body, bytes) else str(error.body or "")
    with contextlib.suppress(ValueError, KeyError, TypeError):
        body = str(json.loads(body)["message"])
    return one_line(Exception(body or str(error.reason)))[:400]
