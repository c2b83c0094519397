import json
from pathlib import Path

import pytest
from conftest import record

from cvbench.core.digest import digest
from cvbench.core.errors import UsageError
from cvbench.core.records import Failure, RunRecord, read_records


def test_a_record_survives_its_json() -> None:
    made = record(
        failures=[Failure("b", "truncated")], unavailable={"lpips-vgg": "no weights"}, speed={"encode_fps": 3.5}
    )
    assert RunRecord.from_json(made.to_json()) == made


def test_a_record_is_strict_json() -> None:
    with pytest.raises(ValueError, match="JSON"):
        record(value=float("nan")).to_json()
    parsed = json.loads(record().to_json(), parse_constant=lambda c: pytest.fail(f"{c} is not JSON"))
    assert parsed["schema"] == 2


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"schema": 99}', '{"schema": 1}', "nonsense"])
def test_what_is_no_record_is_refused_by_name(text: str, tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    path.write_text(text)
    with pytest.raises(UsageError, match=r"x\.json"):
        read_records([path])


def test_a_folder_without_records_says_how_to_make_some(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cvbench run"):
        read_records([tmp_path])


def test_digests_do_not_depend_on_the_order_of_keys() -> None:
    assert digest({"a": 1, "b": 2}) == digest({"b": 2, "a": 1})
    assert digest({"a": 1}) != digest({"a": 1.5})


def test_complete_means_nothing_failed_and_nothing_is_missing() -> None:
    assert record().complete
    assert not record(failures=[Failure("b", "x")]).complete
    assert not record(unavailable={"lpips-vgg": "x"}).complete
    assert not record(error="x").complete
