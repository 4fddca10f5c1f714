"""A selection is read from the Hub by its name, with the real client against the loopback Hub."""

from __future__ import annotations

import sys
import textwrap

import oracle
import pytest
from conftest import HubSession

from meddel_hf import MedDEL, Selection
from meddel_hf.errors import IncompleteStore, InvalidArgument
from meddel_hf.selection.published import at_hand

READ = """
import sys
from meddel_hf import Selection
from meddel_hf.errors import MedDELError

try:
    selection = Selection.load("me/kept")
    print(selection.fingerprint, len(selection.kept), selection.at(retention=0.2).summary.kept, selection.why(0))
except MedDELError as error:
    print(type(error).__name__, error)
"""


def selection():
    return MedDEL(retention=0.5, epsilon=None, scope="pool").select(oracle.clumps(40, 6, spread=0.3))


def test_a_pushed_selection_is_loaded_by_its_name(hub: HubSession, tmp_path):
    chosen = selection()
    chosen.save(tmp_path / "selection")
    hub.call([sys.executable, "-m", "meddel_hf", "push", str(tmp_path / "selection"), "me/kept"])
    printed = hub.run(READ).strip()
    assert printed == f"{chosen.fingerprint} 20 8 {chosen.why(0)}"
    assert hub.call([sys.executable, "-m", "meddel_hf", "why", "me/kept", "0"]).strip() == chosen.why(0)
    assert hub.run(READ, HF_HUB_OFFLINE="1").strip() == printed  # from the client's cache
    chosen.at(retention=0.2).save(hub.home / "me" / "kept")
    assert hub.run(READ).split()[1] == "8", "a folder goes before the Hub"


@pytest.mark.slow
def test_what_the_hub_does_not_have_is_one_sentence(hub: HubSession, tmp_path):
    assert "HubFailed me/kept is no folder here; me/kept: the Hub says no (404" in hub.run(READ)
    told = hub.run(READ, HF_HUB_OFFLINE="1")
    assert told.startswith("InvalidArgument me/kept is no folder here, and the Hub, where it may be, cannot be")
    code = """
    from huggingface_hub import HfApi
    HfApi().create_repo("me/kept", repo_type="dataset")
    """
    hub.run(textwrap.dedent(code))
    assert "the data set of that name on the Hub is no selection (it has no manifest.json)" in hub.run(READ)


@pytest.mark.parametrize("place", ["nowhere", "/no/where", "./no/where", "a/b/c", "no where/x", "a/"])
def test_what_can_be_no_name_on_the_hub_is_a_folder_that_is_missing(place, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert str(at_hand(place, None, None)) == place.removeprefix("./").removesuffix("/")
    with pytest.raises(IncompleteStore, match=r"does not exist: expected a finished selection folder"):
        Selection.load(place)


def test_a_folder_is_read_where_it_stands(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "user" / "name").mkdir(parents=True)
    with pytest.raises(IncompleteStore, match=r"user/name has no manifest\.json"):
        Selection.load("user/name")
    with pytest.raises(InvalidArgument):
        selection().why("no")
