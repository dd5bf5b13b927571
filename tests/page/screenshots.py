"""Every screen of the page as a picture, at a desk and on a phone, by day and by night: `python -m tests.page.screenshots FOLDER`.

Against a suite that runs here (`linklearner up`; its home as LINKLEARNER_HOME). Somebody should look at each one before a change of the
page is called done.
"""

from __future__ import annotations

import sys
from pathlib import Path

from linklearner.suite import Suite, home
from tests.page.browser import DESKTOP, PHONE, Desk, chromium, context_of


def shoot(folder: Path) -> list[Path]:
    suite = Suite.read(home())
    folder.mkdir(parents=True, exist_ok=True)
    written: list[Path] = []
    with chromium() as browser:
        for device, size in ((DESKTOP, "desktop"), (PHONE, "phone")):
            for scheme in ("light", "dark"):
                at = Desk(context_of(browser, device, color_scheme=scheme), suite.page).open()
                shots = 0

                def shot(name: str, at: Desk = at, size: str = size, scheme: str = scheme) -> None:
                    nonlocal shots
                    shots += 1
                    path = folder / f"{size}-{scheme}-{shots:02}-{name}.png"
                    at.page.evaluate("scrollTo(0, 0)")
                    at.page.wait_for_timeout(350)
                    at.page.screenshot(path=path, full_page=True)
                    written.append(path)

                shot("start")
                at.draw("3")
                shot("drawn")
                at.page.locator(".labels button", has_text="3").first.click()
                at.collect("01247")
                at.draw("5")
                shot("collection")
                at.button("Start with a practice wallet").click()
                at.says("Your stake counts from")
                shot("wallet")
                at.button("Train in this browser").click()
                at.page.wait_for_selector(".measure")
                at.button("Submit your update").wait_for()
                shot("trained")
                at.button("Submit your update").click()
                at.says("Accepted in round")
                shot("submitted")
                at.says("Your update is in version")
                shot("merged")
                at.button("Sign in and ask").click()
                at.page.wait_for_selector(".verdict")
                shot("answer")
                at.open("#/task/1")
                at.page.wait_for_selector(".chart .point")
                at.page.wait_for_timeout(1500)
                shot("live")
                at.page.locator(".feed .block-link").first.click()
                at.page.wait_for_selector(".narrow .feed")
                shot("block")
                at.open("#/task/99")
                shot("no-task")
                at.open("#/")
                at.context.set_offline(True)
                at.says("does not answer")
                shot("away")
                at.context.close()
    return written


if __name__ == "__main__":
    for path in shoot(Path(sys.argv[1] if len(sys.argv) > 1 else "screenshots")):
        print(path)
