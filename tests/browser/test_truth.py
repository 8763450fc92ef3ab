"""The indicator under kill -9: "Saved" is only ever said of what is on the disk, and nothing is lost or doubled."""

from __future__ import annotations

import random
import re
import threading

import pytest
from playwright.sync_api import expect

from tests.browser.demo import SAMPLER, client_id, clock, content, demo_url, saved, stored_clocks, words
from tests.support.server import Server

pytestmark = pytest.mark.timeout(600)

ROOM = "truth"
WAITING = re.compile(r"^Offline – \d+ changes? waits? here$")


def test_killed_again_and_again_while_two_people_type(window, full, figure):
    kills = 20 if full else 5
    chance = random.Random(kills)
    with Server(env={"COLLAB_AUTH__MODE": "open"}) as server:
        pages = {
            "a": window(demo_url(server, ROOM, "hocuspocus"), "Ana Berg"),
            "b": window(demo_url(server, ROOM, "y-websocket"), "Ben Ito"),
        }
        typed = dict.fromkeys(pages, 0)
        ana, ben = pages.values()
        saved(ana)
        ana.click(".ProseMirror")
        ana.keyboard.type("A: ")
        ana.keyboard.press("Enter")
        ana.keyboard.type("B: ")
        expect(ben.locator(".ProseMirror p")).to_have_count(2)
        for place, page in enumerate(pages.values()):
            page.click(f".ProseMirror p >> nth={place}")
            page.keyboard.press("End")
            page.evaluate(SAMPLER)
        ids = {writer: client_id(page) for writer, page in pages.items()}

        def type_on(rounds: int) -> None:
            for _ in range(rounds):
                for writer, page in pages.items():
                    page.keyboard.type(f"{writer}{typed[writer]} ")
                    typed[writer] += 1

        looked_at = claims = 0
        for _ in range(kills):
            shot = threading.Timer(chance.uniform(0.05, 0.6), server.kill)
            shot.start()
            while shot.is_alive():
                type_on(1)
            type_on(2)
            for page in pages.values():
                expect(page.locator("#indicator")).to_have_text(WAITING)
            on_disk = stored_clocks(server, ROOM)
            for writer, page in pages.items():
                samples = page.evaluate("samples.splice(0)")
                said = [used for words_, used in samples if words_ == "Saved"]
                looked_at += len(samples)
                claims += len(said)
                assert max(said, default=0) <= on_disk.get(ids[writer], 0), f"{writer}: said to be saved, and lost"
            server.start()
            type_on(3)
            for page in pages.values():
                saved(page)

        figure(
            f"{kills} kills, {sum(typed.values())} words, {looked_at} samples, {claims} of them 'Saved', none untrue"
        )
        assert claims > 10 * kills
        for page in pages.values():
            for writer, count in typed.items():
                expect(page.locator(".ProseMirror")).to_contain_text(f"{writer}{count - 1} ")
                assert words(page, writer) == list(range(count))
        assert content(ana) == content(ben)
        server.kill()
        on_disk = stored_clocks(server, ROOM)
        for writer, page in pages.items():
            assert on_disk[ids[writer]] == clock(page)


@pytest.mark.parametrize("protocol", ["hocuspocus", "y-websocket"])
def test_what_is_typed_offline_waits_and_is_said_to(window, protocol):
    with Server(env={"COLLAB_AUTH__MODE": "open"}) as server:
        page = window(demo_url(server, ROOM, protocol))
        saved(page)
        server.kill()
        expect(page.locator("#indicator")).to_have_text("Offline")
        page.click(".ProseMirror")
        page.keyboard.type("ab")
        expect(page.locator("#indicator")).to_have_text(WAITING)
        waiting = page.evaluate("collabDemo.connection.waiting")
        assert waiting >= 2
        page.get_by_text("y-websocket" if protocol == "hocuspocus" else "Hocuspocus").click()
        expect(page.locator("#indicator")).to_have_text(f"Offline – {waiting} changes wait here")
        server.start()
        saved(page)
        server.kill()
        assert stored_clocks(server, ROOM)[client_id(page)] == clock(page)


def test_hocuspocus_sends_what_was_typed_offline_once(window):
    """Its provider queues it, and answers with it: counted once, acknowledged twice, "saved" would come too early."""
    address = b"\x05truth"
    with Server(env={"COLLAB_AUTH__MODE": "open"}) as server:
        page = window(demo_url(server, ROOM))
        saved(page)
        server.kill()
        expect(page.locator("#indicator")).to_have_text("Offline")
        sent: list[bytes] = []
        heard: list[bytes] = []

        def follow(socket):
            socket.on("framesent", lambda frame: sent.append(bytes(frame)))
            socket.on("framereceived", lambda frame: heard.append(bytes(frame)))

        page.on("websocket", follow)
        page.click(".ProseMirror")
        page.keyboard.type("typed offline")
        expect(page.locator("#indicator")).to_have_text(WAITING)
        server.start()
        saved(page)
        assert sum(frame.startswith(address + b"\x00\x01") for frame in sent) == 1
        assert sum(frame.startswith(address + b"\x00\x02") for frame in sent) == 0
        assert heard.count(address + b"\x08\x01") == 1
