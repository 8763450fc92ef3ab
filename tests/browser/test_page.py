"""The page itself: what it may load, how it looks, and how it is used without a mouse."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from tests.browser.demo import demo_url, saved

TEXT = """<h1>Minutes of Monday</h1><p>We met at nine. <strong>Everyone</strong> had read the
<a href="https://example.com">draft</a>.</p><ul data-type="taskList"><li data-type="taskItem" data-checked="true">
<p>Ask Eva about the figures</p></li><li data-type="taskItem" data-checked="false"><p>Pull the cable</p></li></ul>
<blockquote><p>What is typed is kept.</p></blockquote><pre><code>collab serve</code></pre>"""


def luminance(page) -> float:
    """Of what is behind everything, 0 to 255."""
    colour = page.evaluate("getComputedStyle(document.documentElement).backgroundColor")
    return sum(map(int, colour.removeprefix("rgb(").removesuffix(")").split(","))) / 3


@pytest.mark.parametrize("protocol", ["hocuspocus", "y-websocket"])
def test_nothing_is_loaded_from_elsewhere_and_the_policy_is_kept(server, window, room, protocol):
    page = window("about:blank")
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.add_init_script(
        "window.violations = [];"
        "addEventListener('securitypolicyviolation', (event) => violations.push(event.violatedDirective))"
    )
    page.goto(demo_url(server, room, protocol))
    saved(page)
    page.evaluate("html => collabDemo.editor.commands.setContent(html)", TEXT)
    other = window(demo_url(server, room, protocol), "Ben Ito")
    other.click(".ProseMirror h1")
    other.keyboard.press("Shift+Home")
    expect(page.locator(".caret")).to_have_text("Ben Ito")
    assert page.evaluate("violations") == []
    assert asked and all(url.startswith(server.http_url) for url in asked)


def test_how_soon_it_is_painted(server, window, room, figure):
    page = window(demo_url(server, room))
    saved(page)
    page.reload()
    saved(page)
    paint, loaded = page.evaluate(
        "[performance.getEntriesByName('first-contentful-paint')[0].startTime, "
        "performance.getEntriesByType('resource').reduce((sum, entry) => sum + entry.encodedBodySize, 0)]"
    )
    figure(f"first contentful paint after {paint:.0f} ms, {loaded / 1000:.0f} kB of scripts and styles")
    assert paint < 3000
    assert loaded < 250_000


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [(1100, 760), (390, 780)], ids=["desk", "phone"])
def test_it_is_light_or_dark_as_the_system_is(server, window, room, pictures, scheme, size):
    width, height = size
    viewport = {"width": width, "height": height}
    page = window(demo_url(server, room), "Ana Berg", color_scheme=scheme, viewport=viewport)
    other = window(demo_url(server, room, "y-websocket"), "Ben Ito")
    saved(page)
    page.evaluate("html => collabDemo.editor.commands.setContent(html)", TEXT)
    other.click(".ProseMirror li p >> nth=1")
    expect(page.locator(".caret")).to_have_text("Ben Ito")
    page.click("#self")
    expect(page.locator("#me")).to_be_visible()
    page.screenshot(path=pictures / f"{scheme}-{width}-me.png")
    page.keyboard.press("Escape")
    page.screenshot(path=pictures / f"{scheme}-{width}.png", full_page=True)
    assert (luminance(page) > 128) == (scheme == "light")
    assert page.evaluate("document.documentElement.scrollWidth") <= width

    page.click("#theme")
    assert (luminance(page) > 128) == (scheme == "dark")
    page.reload()
    assert (luminance(page) > 128) == (scheme == "dark"), "the choice was forgotten"


def test_the_toolbar_is_one_stop_and_arrows_move_in_it(server, window, room):
    page = window(demo_url(server, room))
    saved(page)
    page.click(".ProseMirror")
    page.keyboard.type("word")
    page.keyboard.press("Control+a")
    bold = page.get_by_role("button", name="Bold")
    expect(bold).to_have_attribute("aria-pressed", "false")
    page.keyboard.press("Control+b")
    expect(bold).to_have_attribute("aria-pressed", "true")

    assert page.locator("#toolbar button[tabindex='0']").count() == 1
    page.locator("#toolbar button[tabindex='0']").focus()
    page.keyboard.press("End")
    expect(page.get_by_role("button", name="Divider")).to_be_focused()
    page.keyboard.press("ArrowRight")
    expect(page.get_by_role("button", name="Undo")).to_be_focused()
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("Home")
    for _ in range(4):
        page.keyboard.press("ArrowRight")
    expect(bold).to_be_focused()
    page.keyboard.press("Enter")
    expect(bold).to_have_attribute("aria-pressed", "false")
    expect(page.locator(".ProseMirror")).to_be_focused()


def test_a_link_is_set_and_taken_away(server, window, room):
    page = window(demo_url(server, room))
    saved(page)
    page.click(".ProseMirror")
    page.keyboard.type("word")
    page.keyboard.press("Control+a")
    page.get_by_role("button", name="Link", exact=True).click()
    page.fill("#link-address", "example.com/a")
    page.keyboard.press("Enter")
    expect(page.locator(".ProseMirror a")).to_have_attribute("href", "https://example.com/a")
    page.get_by_role("button", name="Link", exact=True).click()
    expect(page.locator("#link-address")).to_have_value("https://example.com/a")
    page.click("#link-remove")
    expect(page.locator(".ProseMirror a")).to_have_count(0)


def test_what_was_undoable_is_forgotten_when_the_room_is_restored(server, window, room):
    page = window(demo_url(server, room, "hocuspocus"))
    saved(page)
    page.click(".ProseMirror")
    page.keyboard.type("kept")
    undo = page.get_by_role("button", name="Undo")
    expect(undo).to_have_attribute("aria-disabled", "false")
    told = '{"event": "restored", "snapshot": 3, "before": 4}'
    page.evaluate(f"collabDemo.connection.provider.receiveStateless('{told}')")
    page.keyboard.press("Control+z")
    expect(page.locator(".ProseMirror")).to_have_text("kept")
    expect(undo).to_have_attribute("aria-disabled", "true")
