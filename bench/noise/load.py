"""The load of the benchmark: small clients of every service, from the machine to the pods, in one thread.

In: addresses of pods. Out: how many requests were answered. Never runs anything in a container.
"""

from __future__ import annotations

import http.client
import itertools
import json
import smtplib
import socket
from base64 import b64encode

import psycopg

TIMEOUT_S = 10.0
_numbers = itertools.count(1)


def get(address: str, port: int, *paths: str) -> None:
    connection = http.client.HTTPConnection(address, port, timeout=TIMEOUT_S)
    try:
        for path in paths:
            connection.request("GET", path)
            answer = connection.getresponse()
            answer.read()
            if answer.status >= 500:
                raise OSError(f"{path}: {answer.status}")
    finally:
        connection.close()


def post(address: str, port: int, path: str, body: bytes, headers: dict[str, str] | None = None, method: str = "POST") -> None:
    connection = http.client.HTTPConnection(address, port, timeout=TIMEOUT_S)
    try:
        connection.request(method, path, body, headers or {})
        answer = connection.getresponse()
        answer.read()
        if answer.status >= 500:
            raise OSError(f"{path}: {answer.status}")
    finally:
        connection.close()


def nginx(address: str) -> None:
    number = next(_numbers)
    get(address, 80, "/", "/assets/app.js", f"/cached/{number % 50}")
    post(address, 80, "/upload", b"x" * 100_000)


def apache(address: str) -> None:
    get(address, 80, "/index.php", "/index.php?page=cart")
    post(address, 80, "/upload.php", b"a review\n")


def haproxy(address: str) -> None:
    get(address, 8080, "/", "/stock")


def tomcat(address: str) -> None:
    get(address, 8080, "/shop/", "/shop/assets/shop.css")


def gunicorn(address: str) -> None:
    get(address, 8000, "/", "/nothing")


def node(address: str) -> None:
    get(address, 3000, "/", "/cart")


def puma(address: str) -> None:
    get(address, 9292, "/", "/nothing")


def rabbitmq(address: str) -> None:
    headers = {"Authorization": "Basic " + b64encode(b"guest:guest").decode(), "Content-Type": "application/json"}
    post(address, 15672, "/api/queues/%2f/sales", json.dumps({"durable": True}).encode(), headers, "PUT")
    message = {"properties": {"delivery_mode": 2}, "routing_key": "sales", "payload": "a sale", "payload_encoding": "string"}
    post(address, 15672, "/api/exchanges/%2f/amq.default/publish", json.dumps(message).encode(), headers)


def redis(address: str) -> None:
    _talk(address, 6379, b"SET sale:%d paid\r\nINCR sales\r\n" % (next(_numbers) % 500), b":")


def memcached(address: str) -> None:
    _talk(address, 11211, b"set sale 0 60 4\r\npaid\r\nget sale\r\n", b"END")


def mosquitto(address: str) -> None:
    """CONNECT, a retained PUBLISH of quality 0, PINGREQ (MQTT 3.1.1 §3)."""
    connect = b"\x10\x10\x00\x04MQTT\x04\x02\x00\x3c\x00\x04shop"
    topic, message = b"sales/%d" % (next(_numbers) % 20), b"a sale"
    publish = bytes([0x31, 2 + len(topic) + len(message), 0, len(topic)]) + topic + message
    _talk(address, 1883, connect + publish + b"\xc0\x00", b"\xd0\x00")


def mail(address: str) -> None:
    with smtplib.SMTP(address, 25, timeout=TIMEOUT_S, local_hostname="client.shop.example") as client:
        client.sendmail("buyer@client.shop.example", ["sales@shop.example"], "Subject: an order\r\n\r\none, please\r\n")


def postgresql(address: str) -> None:
    with psycopg.connect(host=address, user="postgres", dbname="shop", connect_timeout=int(TIMEOUT_S)) as client:
        client.execute("INSERT INTO sale (what) SELECT 'thing ' || n FROM generate_series(1, 50) n")
        client.execute("SELECT count(*) FROM (SELECT what FROM sale ORDER BY what) AS sorted")


def _talk(address: str, port: int, request: bytes, end: bytes) -> None:
    with socket.create_connection((address, port), timeout=TIMEOUT_S) as client:
        client.sendall(request)
        got = b""
        while end not in got:
            piece = client.recv(4096)
            if not piece:
                raise OSError(f"{address}:{port} closed the connection after {got!r}")
            got += piece
