"""An S3 server of this machine, over HTTP, and the variables with which every tool finds it."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

KEYS = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_DEFAULT_REGION": "us-east-1"}


@dataclass(frozen=True)
class Store:
    """A server; `variables` are its address and keys."""

    variables: dict[str, str]
    client: Any

    def keys(self, bucket: str) -> list[str]:
        """Return the names of a bucket's objects."""
        pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=bucket)
        return [entry["Key"] for page in pages for entry in page.get("Contents", [])]


@contextmanager
def s3_server(*buckets: str) -> Iterator[Store]:
    """Give a server with empty buckets."""
    import boto3
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    given = {"aws_access_key_id": "test", "aws_secret_access_key": "test", "region_name": "us-east-1"}
    client = boto3.client("s3", endpoint_url=f"http://{host}:{port}", **given)
    for bucket in buckets:
        client.create_bucket(Bucket=bucket)
    try:
        yield Store({**KEYS, "AWS_ENDPOINT_URL": f"http://{host}:{port}"}, client)
    finally:
        server.stop()
