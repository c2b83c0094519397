import sys
from pathlib import Path

import pytest

from cvbench.core.protocol import ORIGINS, PROTOCOLS

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))

import protocol_page


def test_the_page_of_protocols_is_what_the_data_say() -> None:
    assert protocol_page.PAGE.read_text(encoding="utf-8") == protocol_page.page()


@pytest.mark.parametrize("name", ORIGINS)
def test_every_protocol_names_its_source_and_has_a_section(name: str) -> None:
    found = ORIGINS[name]
    assert found.about
    assert found.repository
    assert found.commit
    assert found.files
    assert f"\n## {name}\n" in protocol_page.page()
    assert PROTOCOLS[name].name == name
