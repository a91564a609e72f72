"""Records and lanes that the commands are shown."""


def attended(harness):
    harness.engine.workers.heartbeat("worker-1", 2)
    return harness


def why(cli):
    (lane,) = cli("status", "--json").json["lanes"]
    return lane["state"], lane["why"]
