"""Disasters that used to be silent, at the command line."""


def test_cancel_refuses_a_receipt_of_another_epoch(cli, harness, client, tmp_path):
    file, receipt = tmp_path / "people.csv", tmp_path / "receipt.json"
    file.write_text("email\nann@example.com\nbob@example.com\n")
    harness.runtime.state.pause("sendgrid", "so that they wait")
    receipt.write_text(cli("enqueue", file, "--json").out)
    client.flushall()
    assert cli("enqueue", file).code == 0

    said = cli("cancel", "--receipt", receipt)

    assert said.code == 2
    assert "nothing was discarded" in said.err
    assert harness.books()["discarded"] == 0
    assert cli("cancel", "sendgrid", "0-1").code == 0  # numbers that a person names are taken as they are
    assert harness.books()["discarded"] == 2
