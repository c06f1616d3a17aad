"""Who may use the admin API for money and keys, from where, and what a foreign page in a browser cannot do."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.observer.desks import Office

TOKEN = "the-token"  # noqa: S105 - nobody's


@pytest.fixture
async def office(tmp_path: Path) -> AsyncIterator[Office]:
    opened = await Office(tmp_path).open()
    yield opened
    await opened.close()


async def status(
    office: Office, address: str = "127.0.0.1", host: str = "127.0.0.1:9902", *, method: str = "POST", **headers: str
) -> int:
    """How a change, or with ``method`` GET a question, ends."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    content = {"content-type": "application/json"} if method == "POST" else {}
    content |= named
    body = b'{"tenant": "t"}' if method == "POST" else None
    response = await office.client(address, host).request(method, "/keys", content=body, headers=content)
    assert TOKEN not in response.text
    return response.status_code


@pytest.mark.parametrize("address", ["127.0.0.1", "127.8.9.1", "::1", "::ffff:127.0.0.1"])
async def test_this_machine_may(office: Office, address: str) -> None:
    """Without a token, with one configured or not."""
    assert await status(office, address) == 201
    office.token = TOKEN
    assert await status(office, address) == 201


@pytest.mark.parametrize("address", ["203.0.113.9", "10.0.0.1", "2001:db8::1", "::ffff:10.0.0.1", "nonsense"])
async def test_other_machines_need_the_token(office: Office, address: str) -> None:
    """For changes and for questions; without a token in the configuration there is no way in."""
    assert await status(office, address) == 403
    assert await status(office, address, authorization=f"Bearer {TOKEN}") == 403
    office.token = TOKEN
    assert await status(office, address) == 401
    assert await status(office, address, method="GET") == 401
    assert await status(office, address, authorization="Bearer other") == 401
    assert await status(office, address, authorization=f"Basic {TOKEN}") == 401
    assert await status(office, address, authorization=f"Bearer {TOKEN}") == 201
    assert await status(office, address, method="GET", authorization=f"bearer {TOKEN}") == 200


async def test_a_wrong_token_is_refused_here_too(office: Office) -> None:
    """Whoever shows one means it."""
    office.token = TOKEN
    assert await status(office, authorization="Bearer other") == 401


@pytest.mark.parametrize(
    "header", ["x_forwarded_for", "x_forwarded_host", "x_forwarded_proto", "x_real_ip", "forwarded", "via"]
)
async def test_a_proxy_on_this_machine_is_not_its_client(office: Office, header: str) -> None:
    """What it passes on comes from elsewhere."""
    assert await status(office, **{header: "127.0.0.1"}) == 403


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", ""])
async def test_a_form_of_a_foreign_page_changes_nothing(office: Office, kind: str) -> None:
    """Pages can send these without asking; JSON they cannot."""
    assert await status(office, content_type=kind) == 415
    assert await status(office, content_type="Application/JSON; charset=utf-8") == 201


@pytest.mark.parametrize(
    "origin", ["https://evil.example", "null", "http://127.0.0.1:80", "http://127.0.0.1:9902.evil.example", "http://[", ""]
)
async def test_a_foreign_page_is_refused(office: Office, origin: str) -> None:
    """By its origin, for questions too; a page of this very address may."""
    assert await status(office, origin=origin) == 403
    assert await status(office, method="GET", origin=origin) == 403
    assert await status(office, origin="http://127.0.0.1:9902") == 201


@pytest.mark.parametrize(("site", "may"), [("cross-site", False), ("same-site", False), ("same-origin", True), ("none", True)])
async def test_what_browsers_say_of_a_page_counts(office: Office, site: str, *, may: bool) -> None:
    """They tell no origin with an image or a link; from where these come they tell all the same."""
    assert await status(office, method="GET", sec_fetch_site=site) == (200 if may else 403)


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "evil.example:9902", "localhost.evil.example"])
async def test_a_name_that_was_pointed_here_is_refused(office: Office, host: str) -> None:
    """DNS rebinding: the page and this address then have the same origin."""
    assert await status(office, host=host) == 403
    assert await status(office, host=host, origin=f"http://{host}") == 403
    assert await status(office, host=host, method="GET") == 403


@pytest.mark.parametrize("host", ["localhost:9902", "127.0.0.1", "[::1]:9902", "admin.localhost"])
async def test_own_names_are_accepted(office: Office, host: str) -> None:
    """As people type them."""
    assert await status(office, host=host) == 201
