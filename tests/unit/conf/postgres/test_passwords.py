"""Generated passwords, and what the server keeps of them."""

from __future__ import annotations

import base64

from balsam.conf.postgres import passwords


def test_the_verifier_is_that_of_the_standard() -> None:
    """The password and salt of the example in RFC 7677."""
    salt = base64.b64decode("W22ZaJ0SNY7soEsUEjb6gQ==")
    assert passwords.verifier("pencil", salt, 4096) == (
        "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY="
        ":wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU="
    )


def test_passwords_are_long_and_different_and_so_are_their_verifiers() -> None:
    made = {passwords.generate() for _ in range(100)}
    assert len(made) == 100
    assert all(len(one) == 43 and one.isascii() for one in made)
    one = made.pop()
    assert passwords.verifier(one) != passwords.verifier(one)
    assert one not in passwords.verifier(one)
