import re
from html.parser import HTMLParser

from skrbm.commands.page import film, page, paragraph, picture, side_by_side, table

PNG = b"\x89PNG\r\n\x1a\n and so on"
VOID = {"meta", "img", "input"}


class Checker(HTMLParser):
    """Elements that are open, what text there is, and what is asked for from elsewhere."""

    def __init__(self):
        super().__init__()
        self.open, self.text, self.images, self.asked = [], [], [], []

    def handle_starttag(self, tag, attrs):
        if tag not in VOID:
            self.open.append(tag)
        for name, value in attrs:
            if name in ("src", "href"):
                (self.images if value.startswith("data:image/png;base64,") else self.asked).append(value)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


def checked(text):
    checker = Checker()
    checker.feed(text)
    assert checker.open == []
    assert checker.asked == []
    assert not re.search(r"https?://|@import|url\(", text)
    return checker


def test_a_page_needs_nothing_but_itself(tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(PNG)
    frames = {"before": path, "after <1>": path}
    parts = [paragraph("1 < 2 & 3"), side_by_side([picture(path, "one <picture>"), film(frames, "a film")])]
    found = checked(page("<digits> & co", parts))
    assert len(found.images) == 3
    for text in ("<digits> & co", "1 < 2 & 3", "one <picture>", "a film"):
        assert text in found.text


def test_a_film_shows_its_last_picture_without_a_script(tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(PNG)
    shown = re.findall(r'<img( class="shown")? alt="(\w+)"', film({"first": path, "last": path}, ""))
    assert shown == [("", "first"), (' class="shown"', "last")]


def test_a_table_has_a_line_for_every_name():
    found = table({"deck": {"epochs": "3", "nats": "-90 < -80"}, "best": {"nats": "-84", "ess": "7"}})
    lines = [re.findall("<t[hd]>(.*?)</t[hd]>", line) for line in found.split("<tr>")]
    assert lines[1:] == [
        ["", "deck", "best"],
        ["epochs", "3", "-"],
        ["nats", "-90 &lt; -80", "-84"],
        ["ess", "-", "7"],
    ]
