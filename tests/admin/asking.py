"""Asking the admin API of a running proxy that has no broker: requests as they should not be."""

from __future__ import annotations

import json
import socket
from typing import Any

import pytest

from trabbits.api_client import ApiClient, ApiError
from trabbits.testing.trabbits_process import TrabbitsProcess

FAR: dict[str, Any] = {"name": "far", "address": "[::1]:1"}
CHECKED: dict[str, Any] = {
    "name": "checked",
    "address": "127.0.0.1:1",
    "health_check": {"enabled": False, "username": "health", "password": "hunter2"},
}
CONFIG = {"upstreams": [FAR, CHECKED]}


def refused(
    api: ApiClient, method: str, path: str, body: bytes | None = None, kind: str = "application/json"
) -> ApiError:
    with pytest.raises(ApiError) as caught:
        api.request(method, path, body, kind)
    return caught.value


def raw(proxy: TrabbitsProcess, octets: bytes, timeout: float = 20.0) -> bytes:
    """What the server answers to exactly these octets, until it closes."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(timeout)
        connection.connect(str(proxy.api_socket))
        connection.sendall(octets)
        answer = b""
        while octets_read := connection.recv(65536):
            answer += octets_read
        return answer


def json_of(answer: bytes) -> tuple[int, Any]:
    """Status and content of a raw answer."""
    head, _, body = answer.partition(b"\r\n\r\n")
    return int(head.split()[1]), json.loads(body)
