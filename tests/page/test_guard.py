# SPDX-License-Identifier: MIT
"""What the page's server refuses."""

import asyncio

from rewact.cli.label_page import page_address
from rewact.page.guard import MAX_BODY
from tests.page.conftest import browse

EDIT = {
    "base": {"keypoints": [], "outcome": None, "control_modes": []},
    "labels": {"keypoints": [], "outcome": "success", "control_modes": []},
}


def test_another_name_for_this_machine_is_refused(client):
    for host in ("evil.example", "evil.example:8642", "127.0.0.1.evil.example", "10.0.0.1", "", "[::1"):
        answer = client.get("/api/dataset", headers={"Host": host})
        assert answer.status_code == 403 and "does not answer to the name" in answer.json()["error"], host


def test_names_of_this_machine_are_answered(client):
    for host in ("127.0.0.1:8642", "localhost:8642", "[::1]:8642", "localhost"):
        assert client.get("/api/dataset", headers={"Host": host}).status_code == 200, host


def test_posts_of_other_pages_are_refused(client, root):
    for origin in ("http://evil.example", "http://127.0.0.1:9999", "null", "http://[::1"):
        answer = client.put("/api/episodes/0/labels", json=EDIT, headers={"Origin": origin})
        assert answer.status_code == 403 and origin in answer.json()["error"]
    assert not (root / "rewact_extensions/outcomes.json").exists()
    own = client.put("/api/episodes/0/labels", json=EDIT, headers={"Origin": "http://127.0.0.1:8642"})
    assert own.status_code == 200


def test_other_pages_cannot_embed_anything(client):
    for path in ("/api/dataset", "/media/0/0?plays=h264", "/thumbnails/0/first", "/static/main.js"):
        assert client.get(path, headers={"Sec-Fetch-Site": "cross-site"}).status_code == 403, path
        assert client.get(path, headers={"Sec-Fetch-Site": "same-origin"}).status_code == 200, path


def test_what_is_posted_has_limits(client):
    path = "/api/episodes/0/labels"
    json = {"Content-Type": "application/json"}
    assert client.put(path, content=b"{}", headers={"Content-Type": "text/plain"}).status_code == 415
    assert client.put(path, content=b" " * (MAX_BODY + 1), headers=json).status_code == 413
    assert client.put(path, content=iter([b"{}"]), headers=json).status_code == 411
    assert client.put(path, content=b"{", headers=json).json()["error"] == "the request is not valid JSON"
    assert client.put(path, content=b"[" * 100_000, headers=json).status_code == 400
    for method in ("DELETE", "OPTIONS", "TRACE"):
        answer = client.request(method, path)
        assert answer.status_code == 405 and method in answer.json()["error"]
    assert client.get("/api/episodes/" + "9" * 5000).status_code == 414


def test_a_browser_that_goes_away_while_it_sends_is_no_failure(client, caplog):
    """As when its tab is closed."""
    headers = [
        (b"host", b"127.0.0.1:8642"),
        (b"content-type", b"application/json"),
        (b"content-length", b"9"),
    ]
    path, sent = "/api/episodes/0/labels", []
    scope = {"type": "http", "method": "PUT", "path": path, "query_string": b"", "headers": headers}

    async def receive():
        return {"type": "http.disconnect"}

    async def send(message):
        sent.append(message)

    asyncio.run(client.app({**scope, "server": ("127.0.0.1", 8642)}, receive, send))
    assert sent[0]["status"] == 400 and "failed" not in caplog.text


def test_addresses_never_become_paths(client):
    for path in (
        "/static/../book.py",
        "/static/%2e%2e/book.py",
        "/static/..%2f..%2fbook.py",
        "/static/nothing.js",
        "/media/0/../../meta/info.json",
        "/media/0/2?plays=h264",
        "/media/99/0?plays=h264",
        "/thumbnails/0/..%2f..%2fmeta%2finfo.json",
        "/thumbnails/0/middle",
        "/api/episodes/99",
        "/api/episodes/-1",
        "/etc/passwd",
        "//etc/passwd",
    ):
        answer = client.get(path)
        assert answer.status_code == 404 and set(answer.json()) == {"error"}, path


def test_codecs_in_an_address_are_only_compared(client):
    answer = client.get("/api/episodes/0/cameras?plays=../../etc,h264,%00")
    assert [camera["url"] for camera in answer.json()["cameras"]] == [
        f"/media/0/{i}?plays=h264" for i in (0, 1)
    ]


def test_other_machines_need_the_token(page):
    client = browse(page(), host="0.0.0.0", token="secret")
    client.base_url = "http://192.168.0.7:8642"
    for path in (
        "/",
        "/?token=wrong",
        "/api/dataset",
        "/api/dataset?token=secret",
        "/media/0/0",
        "/static/main.js",
    ):
        assert client.get(path).status_code == 403, path
    assert client.put("/api/episodes/0/labels", json=EDIT).status_code == 403
    assert client.get("/", headers={"Cookie": "rewact_page_8642=wrong"}).status_code == 403
    assert client.get("/", headers={"Host": "evil.example"}).status_code == 403
    admitted = client.get("/?token=secret", follow_redirects=False)
    assert admitted.status_code == 303 and admitted.headers["location"] == "/"
    assert "httponly" in admitted.headers["set-cookie"].lower()
    assert client.get("/api/dataset").status_code == 200
    assert client.put("/api/episodes/0/labels", json=EDIT).status_code == 200
    # Cookies that other servers of this machine have set come along.
    client.cookies.clear()
    for cookie in ("a[]=b; rewact_page_8642=secret", 'b={"c": 1}; rewact_page_8642=secret; d'):
        assert client.get("/api/dataset", headers={"Cookie": cookie}).status_code == 200


def test_the_address_that_is_printed():
    assert page_address("127.0.0.1", 8642, None) == "http://127.0.0.1:8642/"
    assert page_address("::", 80, "t").endswith(":80/?token=t")
    assert page_address("fe80::1", 80, "t") == "http://[fe80::1]:80/?token=t"


def test_every_answer_forbids_foreign_scripts(client):
    for path in ("/", "/api/dataset", "/api/nothing"):
        headers = client.get(path).headers
        assert "script-src 'self'" in headers["content-security-policy"]
        assert headers["referrer-policy"] == "no-referrer" and headers["x-content-type-options"] == "nosniff"
