"""The library logs, and a command shows it: counted in processes of their own."""

from __future__ import annotations

import subprocess
import sys

SAY = "import logging; log = logging.getLogger('meddel_hf.data.scan')\n"
SAY += "log.info('all %s frames embedded', 3)\nlog.warning('note: 1 file was not looked at')"
SHOW = "from meddel_hf.runtime.messages import show_messages\nshow_messages()\nshow_messages()\n"


def run(code: str) -> tuple[str, str]:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout, done.stderr


def test_a_command_shows_every_message_once_and_as_it_is():
    assert run(SHOW + SAY) == ("", "all 3 frames embedded\nnote: 1 file was not looked at\n")


def test_a_program_sees_warnings_alone_unless_it_asks():
    assert run(SAY) == ("", "note: 1 file was not looked at\n")
    configured = "import logging, sys\nlogging.basicConfig(stream=sys.stdout, level='INFO', format='%(name)s')\n"
    assert run(configured + SAY) == ("meddel_hf.data.scan\n" * 2, "")
