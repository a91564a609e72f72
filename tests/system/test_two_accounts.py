"""Workers with different keys, as processes: nothing is sent while both live, and everything after that."""

from support.processes import WorkerProcess
from support.waiting import wait_until


def test_nothing_is_sent_while_two_keys_live_and_everything_when_one_is_left(stage, sandbox, tmp_path):
    state = stage.runtime.state
    with stage.worker():
        other = {**stage.environment(), "SENDGRID_API_KEY": "SG.other"}
        with WorkerProcess(other, tmp_path) as second:
            wait_until(lambda: state.read().get("code") == "two_accounts", 30, lambda: second.log)
            stage.enqueue([{"email": f"p{at}@example.com"} for at in range(50)])
            stage.wait_for_heartbeat(second)
            assert "two accounts" in second.log
            assert "SG.other" not in second.log
            assert [entry for entry in sandbox.journal() if entry["endpoint"] == "sendgrid.upsert"] == []
        books = stage.wait_until_settled(50, timeout_s=40)
    assert books["delivered"] == 50
    stage.assert_books_balance()
