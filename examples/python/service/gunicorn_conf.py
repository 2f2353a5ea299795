"""gunicorn's hooks: each worker starts the node that it inherited unstarted."""

from typing import Any


def post_worker_init(worker: Any) -> None:
    from flask_app import node

    node.start()


def worker_exit(server: Any, worker: Any) -> None:
    from flask_app import node

    node.close()
