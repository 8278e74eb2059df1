"""The ring on three real nodes: what the API says of it, and what people see of it in a real browser.

The tests of the page need Chromium and its driver (Debian: chromium, chromium-driver).
"""

from __future__ import annotations

import json
import shutil
import time
import urllib.error
import urllib.request
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest
from selenium import webdriver
from selenium.common.exceptions import StaleElementReferenceException
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from benchmarks.faults import Service

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from selenium.webdriver import Chrome
    from selenium.webdriver.remote.webelement import WebElement

    from store_manager.lab.clusters import Cluster
    from store_manager.settings import Settings

PATIENCE_S = 60.0
PORT = 5000
NAME = "Gamer mouse <b>7</b>"
CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
NETWORK_FLAGS = ("no-first-run", "disable-background-networking", "disable-component-update", "disable-sync")
PHONE = {"width": 360, "height": 740, "deviceScaleFactor": 1, "mobile": True}


@pytest.fixture(scope="module")
def store(three_nodes: Cluster, three_settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A service on three nodes with three copies of each row, which gives up soon; its address."""
    network = three_nodes.addresses[0].rpartition(".")[0]
    own = replace(
        three_settings, cassandra_read_timeout_s=2, http_host=f"{network}.101", http_port=PORT, recovery_interval_s=0
    )
    service = Service(1, own, tmp_path_factory.mktemp("service"))
    address = f"http://{own.http_host}:{PORT}"
    try:
        service.start()
        until(lambda: is_ready(address))
        yield address
    finally:
        service.kill()


def is_ready(address: str) -> bool:
    try:
        return bool(get(f"{address}/readyz"))
    except OSError:
        return False


@contextmanager
def frozen(three_nodes: Cluster, number: int) -> Iterator[None]:
    three_nodes.freeze(number)
    try:
        yield
    finally:
        three_nodes.thaw(number)


@contextmanager
def killed(three_nodes: Cluster, number: int) -> Iterator[None]:
    three_nodes.kill(number)
    try:
        yield
    finally:
        three_nodes.start(number)


@pytest.fixture(scope="module")
def product(store: str) -> dict[str, Any]:
    """A product whose name would be markup if it were taken for it."""
    body = {"sku": f"MOUSE-{uuid4().hex[:8]}", "name": NAME, "price": "29.99"}
    request = urllib.request.Request(
        f"{store}/products", json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=PATIENCE_S) as response:
        created: dict[str, Any] = json.load(response)
    return created


def get(address: str) -> Any:
    with urllib.request.urlopen(address, timeout=PATIENCE_S) as response:
        return json.load(response)


def until(condition: Callable[[], Any]) -> Any:
    """Ask again and again until it holds; fail when patience ends."""
    end_s = time.monotonic() + PATIENCE_S
    while True:
        with suppress(StaleElementReferenceException):  # the page has drawn anew between finding and asking
            if found := condition():
                return found
        assert time.monotonic() < end_s, "waited in vain"
        time.sleep(0.05)


def trace(store: str, product: dict[str, Any], **parameters: str) -> Any:
    query = "&".join(f"{name}={value}" for name, value in parameters.items())
    return get(f"{store}/cluster/trace/{product['product_id']}?{query}")


def answered(found: Any) -> list[str]:
    return [replica["address"] for replica in found["replicas"] if replica["answered_ms"] is not None]


def test_the_cluster_is_three_nodes_that_see_each_other_and_share_the_ring(store: str, three_nodes: Cluster) -> None:
    cluster = until(lambda: all_seen(get(f"{store}/cluster")))

    assert [node["address"] for node in cluster["nodes"]] == three_nodes.addresses
    assert {node["state"] for node in cluster["nodes"]} == {"UP"}
    assert [round(node["share"], 3) for node in cluster["nodes"]] == [0.333] * 3
    assert len({node["schema_version"] for node in cluster["nodes"]}) == 1
    assert cluster["copies"] == [{"datacenter": "dc1", "count": 3}]
    assert [one["until"] for one in cluster["ranges"]] == [node["tokens"][0] for node in cluster["nodes"]]
    assert all(one["replicas"][0] == one["owner"] and len(one["replicas"]) == 3 for one in cluster["ranges"])


def all_seen(cluster: Any) -> Any:
    sights = [sight["alive"] for node in cluster["nodes"] for sight in node["seen_by"]]
    return cluster if sights == [True] * 6 else None


@pytest.mark.parametrize(("level", "needed"), [("ONE", 1), ("QUORUM", 2), ("ALL", 3)])
def test_a_read_is_answered_by_as_many_replicas_as_its_level_needs(
    store: str, product: dict[str, Any], level: str, needed: int
) -> None:
    found = trace(store, product, level=level)

    assert (found["outcome"], found["name"], found["failures"]) == ("ANSWERED", NAME, [])
    assert len(answered(found)) >= needed, "a slow machine asks one more"
    assert all(replica["asked"] for replica in found["replicas"] if replica["answered_ms"] is not None)
    assert found["coordinator"] in [replica["address"] for replica in found["replicas"]]
    assert found["complete"]
    assert {event["node"] for event in found["events"]} >= {found["coordinator"], *answered(found)}


def test_a_write_is_whole_and_nobody_notices_it(store: str, product: dict[str, Any]) -> None:
    address = f"{store}/products/{product['product_id']}"
    with urllib.request.urlopen(address, timeout=PATIENCE_S) as response:
        before = (response.headers["ETag"], response.read())

    found = trace(store, product, operation="WRITE")

    assert (found["outcome"], found["operation"], found["level"]) == ("ANSWERED", "WRITE", "LOCAL_QUORUM")
    assert len(answered(found)) >= 2
    assert any("Committing proposal" in event["activity"] for event in found["events"]), "it went all the way"
    with urllib.request.urlopen(address, timeout=PATIENCE_S) as response:
        assert (response.headers["ETag"], response.read()) == before


def test_what_is_not_there_is_not_followed(store: str) -> None:
    for query in ("", "?operation=WRITE", "?level=ONE"):
        with pytest.raises(urllib.error.HTTPError) as refused:
            get(f"{store}/cluster/trace/{uuid4()}{query}")
        assert json.load(refused.value)["code"] == "PRODUCT_NOT_FOUND"


# The page


@pytest.fixture(scope="module")
def chrome() -> Iterator[Chrome]:
    """Chromium, without a window."""
    if CHROMIUM is None or DRIVER is None:
        pytest.skip("no browser: install Chromium and its driver (Debian: chromium, chromium-driver)")
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for flag in ("headless=new", "no-sandbox", "disable-dev-shm-usage", "disable-gpu", "disable-quic", *NETWORK_FLAGS):
        options.add_argument(f"--{flag}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options, webdriver.ChromeService(DRIVER))
    yield driver
    driver.quit()


@pytest.fixture
def page(chrome: Chrome) -> Iterator[Chrome]:
    """The browser; whatever a test did in it, the console has no complaint."""
    yield chrome
    entries = chrome.get_log("browser")  # type: ignore[no-untyped-call]
    assert [entry for entry in entries if entry["level"] == "SEVERE"] == []
    chrome.get("about:blank")
    chrome.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def one(page: Chrome, selector: str) -> WebElement:
    found: WebElement = page.find_element(By.CSS_SELECTOR, selector)
    return found


def texts(page: Chrome, selector: str) -> list[str]:
    """The texts of all elements, read at once so that none is replaced meanwhile."""
    script = "return Array.from(document.querySelectorAll(arguments[0]), (one) => one.innerText)"
    found: list[str] = page.execute_script(script, selector)
    return found


def open_page(page: Chrome, store: str, product: dict[str, Any], query: str = "lang=en") -> None:
    page.get(f"{store}/ring?{query}")
    choice = f'input[value="{product["product_id"]}"]'
    until(lambda: page.find_elements(By.CSS_SELECTOR, choice))
    one(page, choice).click()
    until(lambda: one(page, "#steps").is_displayed() and texts(page, "#step-answers strong"))


def shown_states(page: Chrome) -> list[str]:
    script = "return Array.from(document.querySelectorAll('#nodes tbody tr'), (row) => row.dataset.state)"
    found: list[str] = page.execute_script(script)
    return found


def test_a_chosen_product_is_followed_from_its_key_to_who_answered(
    page: Chrome, store: str, product: dict[str, Any]
) -> None:
    open_page(page, store, product)
    found = trace(store, product)

    assert texts(page, "#step-product .big") == [NAME]
    assert texts(page, "#step-token .big") == [found["token"]]
    replicas = [replica["address"] for replica in found["replicas"]]
    assert [text.split()[-1] for text in texts(page, "#step-replicas li")] == replicas
    assert texts(page, "#step-answers strong")[0].startswith("QUORUM was met")
    assert page.execute_script("return document.querySelectorAll('#ring .node').length") == 3
    assert one(page, "#ring .marker").get_attribute("data-token") == found["token"]
    assert replicas[0] in str(one(page, "#ring-description").get_attribute("textContent"))
    assert len(texts(page, "#events tbody tr")) > 3


def test_the_page_says_it_all_by_keyboard_and_in_french(page: Chrome, store: str, product: dict[str, Any]) -> None:
    page.get(f"{store}/ring?lang=fr&product={product['product_id']}&level=ALL")
    until(lambda: texts(page, "#step-answers strong"))

    assert one(page, "html").get_attribute("lang") == "fr"
    assert texts(page, "#step-answers strong")[0].startswith("ALL est atteint")
    one(page, "body").send_keys(Keys.TAB)
    assert page.switch_to.active_element.get_attribute("class") == "skip"
    one(page, 'input[name="level"][value="ALL"]').send_keys(Keys.ARROW_LEFT)
    until(lambda: texts(page, "#step-answers strong")[0].startswith("QUORUM est atteint"))
    assert "level=QUORUM" in page.current_url
    assert "level=QUORUM" in str(one(page, 'a[lang="en"]').get_attribute("href"))


def test_on_a_phone_nothing_is_cut_off(page: Chrome, store: str, product: dict[str, Any]) -> None:
    page.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", PHONE)
    open_page(page, store, product, "lang=fr")

    too_wide = """
        return Array.from(document.querySelectorAll("main *:not(.scroll *):not(.unseen)"))
          .filter((one) => one.getBoundingClientRect().right > innerWidth + 1)
          .map((one) => one.outerHTML.slice(0, 80))"""
    assert page.execute_script("return document.documentElement.scrollWidth") <= PHONE["width"]
    assert page.execute_script(too_wide) == []


def test_a_node_that_hangs_and_comes_back_is_seen_live_and_said_aloud(
    page: Chrome, store: str, product: dict[str, Any], three_nodes: Cluster
) -> None:
    open_page(page, store, product)
    until(lambda: shown_states(page) == ["UP"] * 3)

    with frozen(three_nodes, 2):
        until(lambda: shown_states(page)[1] != "UP")
        assert "1 away" in texts(page, "#step-loss")[0]
    until(lambda: shown_states(page) == ["UP"] * 3)

    said = texts(page, '[role="log"] li')
    assert sum(three_nodes.addresses[1] in line for line in said) >= 2


def test_a_killed_node_is_away_quorum_still_answers_and_all_can_t_be_met(
    page: Chrome, store: str, product: dict[str, Any], three_nodes: Cluster
) -> None:
    open_page(page, store, product)
    dead = three_nodes.addresses[2]
    with killed(three_nodes, 3):
        until(lambda: shown_states(page)[2] == "DOWN")
        one(page, "#follow").click()
        until(lambda: texts(page, "#step-answers strong")[0].startswith("QUORUM was met"))
        assert dead not in answered(trace(store, product, level="QUORUM"))
        one(page, 'input[name="level"][value="ALL"]').click()
        until(lambda: "bad" in str(one(page, "#step-answers p").get_attribute("class")))
        failed = trace(store, product, level="ALL")
        assert (failed["outcome"], len(failed["failures"])) == ("FAILED", 1)
        until(lambda: seen_alive(store, dead) == [False, False])
    until(lambda: shown_states(page) == ["UP"] * 3)


def seen_alive(store: str, address: str) -> list[bool | None]:
    sights = {node["address"]: node["seen_by"] for node in get(f"{store}/cluster")["nodes"]}[address]
    return [sight["alive"] for sight in sights]
