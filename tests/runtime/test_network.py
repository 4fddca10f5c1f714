"""What goes wrong between here and the Hub is one sentence, from real clients against the loopback Hub."""

from __future__ import annotations

import socket
import sys
import textwrap

import pytest
from conftest import HubSession
from hub.test_push import frames, kept_only

from meddel_hf.runtime.network import public, public_name, text_without_places, typed_without_places, without_places
from meddel_hf.selection.folder import save_subset

TELL = """
    import sys
    from datasets import load_from_disk
    from meddel_hf import Selection
    from meddel_hf.errors import HubFailed, InvalidArgument
    from meddel_hf.hub.push import push
    from meddel_hf.hub.metric import push_metric
    pool, selection = load_from_disk("pool"), Selection.load("selection")
    subset = selection.filter(pool)

    def told(work, *arguments):
        try:
            work(*arguments)
        except (HubFailed, InvalidArgument) as error:
            text = str(error)
            assert "\\n" not in text and len(text) < 400, text
            print(text)
        else:
            print("published")
"""


@pytest.fixture
def work(hub: HubSession):
    pool = frames()
    pool.save_to_disk(hub.home / "pool")
    kept_only(pool, 1, 2).save(hub.home / "selection")
    save_subset(kept_only(pool, 1, 2).filter(pool), hub.home / "subset")
    return hub.home


def told(hub: HubSession, code: str, **env: str) -> list[str]:
    return hub.run(textwrap.dedent(TELL) + textwrap.dedent(code), **env).strip().splitlines()


EACH = """
    for work, what in ((push, "subset"), (push, "selection")):
        told(work, what, "me/frames")
    told(subset.push_to_hub, "me/frames")
    told(push_metric, "me/normdel")
"""


def test_without_a_token(hub: HubSession, work):
    lines = told(hub, EACH, HF_TOKEN="")
    assert len(lines) == 4
    for line in lines:
        assert "401" in line
        assert "hf auth login" in line
    done = hub.call([sys.executable, "-c", "import sys\nfrom meddel_hf.cli import main\nsys.stderr = sys.stdout\n"
                     "print(main(['push', 'subset', 'me/frames']))"], HF_TOKEN="")  # fmt: skip
    error, status = done.strip().splitlines()
    assert error.startswith("error: me/frames: the Hub says no (401")
    assert status == "2"


@pytest.mark.slow
def test_without_a_hub(hub: HubSession, work):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        closed = f"http://127.0.0.1:{free.getsockname()[1]}"
    lines = told(hub, EACH, HF_ENDPOINT=closed)
    assert len(lines) == 4
    for line in lines:
        assert "cannot be reached" in line
        assert "network" in line
    (offline,) = told(hub, 'told(push, "subset", "me/frames")', HF_HUB_OFFLINE="1")
    assert "HF_HUB_OFFLINE is set" in offline


def test_what_the_hub_refuses(hub: HubSession, work):
    hub.server.refusals.update({f"GET /api/datasets/me/r{status}$": status for status in (401, 403, 404, 500)})
    hub.server.refusals.update({"POST /api/datasets/me/r409/commit": 409, "POST /api/datasets/me/lost/commit": 0})
    names = ("r401", "r403", "r404", "r500", "r409", "lost")
    code = f"""
        for name in {names}:
            told(push, "subset", f"me/{{name}}")
        told(push, "subset", "a/b/c")
        told(push, "selection", "no spaces")
        told(push, "subset", "me/fine")
    """
    lines = told(hub, code)
    expected = ["token", "may not write", "check the name", "trouble of its own", "same command again",
                "cannot be reached", "no name of a repository", "no name of a repository", "published"]  # fmt: skip
    assert len(lines) == len(expected)
    for line, word in zip(lines, expected, strict=True):
        assert word in line


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("google/vit-base", "google/vit-base"),
        ("me/frames:config@train", "me/frames:config@train"),
        ("/data/hospital/ward 7/frames", "frames"),
        ("../patients/datadel:kvasir@train", "datadel:kvasir@train"),
        ("~/encoders/mae/", "mae"),
        (r"C:\Users\jane\pool", "pool"),
        ("runs/study/mae", "mae"),
        ("../Anna Smith/my enc", "my enc"),
        (r"C:\Users\Anna Smith\vit", "vit"),
        ("file:///home/anna/frames", "frames"),
        ("meddel", "meddel"),
    ],
)
def test_local_paths_are_shown_by_name(name, shown):
    assert public_name(name) == shown
    assert public({"a": [name, 3, None]}) == {"a": [shown, 3, None]}


@pytest.mark.parametrize(
    ("told", "shown"),
    [
        (
            "the last good weights are in /home/anna smith/runs/ab/checkpoint-50",
            "the last good weights are in checkpoint-50",
        ),
        (r"weights are in C:\Users\anna\runs\checkpoint-50, and stay", "weights are in checkpoint-50, and stay"),
        ("[/home/anna/x] (~anna/y), path=/home/anna/z: '/srv/w'", "[x] (y), path=z: 'w'"),
        ("read from file:///home/anna/frames, and file:/srv/ward/more", "read from frames, and more"),
        ("kept 3/4/5 of them, and/or 5 / 6", "kept 3/4/5 of them, and/or 5 / 6"),
        ("see https://huggingface.co/me/x, or runs/study/mae", "see https://huggingface.co/me/x, or runs/study/mae"),
    ],
)
def test_no_sentence_tells_a_folder(told, shown):
    assert text_without_places(told) == shown
    assert public(told) == shown
    assert without_places({"a": [told], "match": "/b/*"}) == {"a": [shown], "match": "/b/*"}


@pytest.mark.parametrize(
    ("typed", "shown"),
    [
        ("meddel report RUNS --out='/tmp/Anna Smith/r'", "meddel report RUNS --out=r"),
        ("meddel report '/tmp/Anna Smith/runs' --out r/s --seed=3", "meddel report runs --out r/s --seed=3"),
        (r"meddel report 'C:\Users\anna\runs' --plan=~/plan.yaml", "meddel report runs --plan=plan.yaml"),
        ("meddel report file:///srv/anna/runs", "meddel report runs"),
    ],
)
def test_what_was_typed_tells_no_folder(typed, shown):
    assert typed_without_places(typed) == shown


def test_a_path_that_is_there_is_shown_by_name_and_a_sentence_as_it_is(tmp_path, monkeypatch):
    (tmp_path / "hospital" / "frames").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    assert public_name("hospital/frames") == "frames"
    assert public_name("hospital/frames:c@train") == "frames:c@train"
    assert public("kept 3/4/5 of them") == "kept 3/4/5 of them"


def test_what_is_never_a_hub_id_is_a_path_also_where_it_is_not_to_be_found():
    assert public({"folder": "patients/mueller anna/", "table": "lists/ward.csv", "pool": "user/frames"}) == {
        "folder": "mueller anna",
        "table": "ward.csv",
        "pool": "user/frames",
    }
