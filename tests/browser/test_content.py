"""What the browser shows is what the store gives back, and what is put into a room is what the browser shows."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from playwright.sync_api import expect

from tests.browser.demo import content, demo_url, export, saved
from tests.support.server import Server

RICH = """<h1>Title <em>in part</em></h1>
<p>Plain, <strong>bold</strong>, <em>italic</em>, <u>under</u>, <s>struck</s>, <code>code</code>,
<strong><em><u>all three</u></em></strong>, <a href="https://example.com/?a=1&amp;b=2">a <strong>link</strong></a>.</p>
<p>One line<br>and another. é € 😀 👩‍👧 &lt;b&gt;</p><p></p>
<h2>Lists</h2><ul><li><p>one</p><ul><li><p>inside</p></li></ul></li><li><p>two</p><p>still two</p></li></ul>
<ol start="4"><li><p>four</p></li><li><p>five</p></li></ol>
<ul data-type="taskList"><li data-type="taskItem" data-checked="true"><p>done</p>
<ul data-type="taskList"><li data-type="taskItem" data-checked="false"><p>not yet</p></li></ul></li></ul>
<blockquote><p>Quoted</p><ol><li><p>in a list</p></li></ol></blockquote>
<pre><code class="language-python">if a &lt; b:
    pass</code></pre><pre><code>no language</code></pre><hr><h3>End</h3>"""


def put(server: Server, room: str, document: Path) -> None:
    """`collab import`, into the running server."""
    command = [sys.executable, "-m", "collab", "import", room, str(document), "--server", server.url]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert ended.returncode == 0, ended.stderr


@pytest.mark.parametrize("protocol", ["hocuspocus", "y-websocket"])
def test_what_is_shown_is_what_is_exported_and_comes_back_the_same(window, protocol, tmp_path):
    with Server(env={"COLLAB_AUTH__MODE": "open"}) as server:
        page = window(demo_url(server, "rich", protocol))
        saved(page)
        page.evaluate("html => collabDemo.editor.commands.setContent(html)", RICH)
        page.click(".ProseMirror h3")
        page.keyboard.press("End")
        page.keyboard.type(" typed")
        saved(page)
        shown, html = content(page), page.evaluate("collabDemo.editor.getHTML()")
        assert "typed" in html and "<u>" in html and "language-python" in html and 'start="4"' in html
        server.terminate()
        server.wait()
        exported = export(server, "rich", "prosemirror")
        assert json.loads(exported) == shown

        server.start()
        document = tmp_path / "rich.json"
        document.write_bytes(exported)
        put(server, "copy", document)
        copy = window(demo_url(server, "copy", protocol))
        saved(copy)
        expect(copy.locator(".ProseMirror h3")).to_have_text("End typed")
        assert copy.evaluate("collabDemo.editor.getHTML()") == html
        assert content(copy) == shown
