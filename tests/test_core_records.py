import dataclasses
import json
from pathlib import Path

import pytest

from cvbench.core.errors import UsageError
from cvbench.core.records import DataFacts, Failure, ModelFacts, RunRecord, SampleRecord, Score, digest, read_records


def record(
    model: str = "m", data: str = "d", value: float = 30.0, signature: str = "psnr:1 data=d#1 size=256", **more: object
) -> RunRecord:
    sample = SampleRecord('a/ü "1".png', 1, 48, 64, "0" * 64, {"stride": 1}, {"psnr": [value]})
    made = RunRecord(
        model=ModelFacts(model, "1" * 64, params=(34_163_592, 49_490_179), temporal=1),
        data=DataFacts(data, "2" * 64, 1),
        protocol={"name": "p", "version": 1},
        probes={"psnr": "1"},
        scores={"psnr": Score(value, value - 1, value + 1, 1, signature)},
        samples=[sample],
    )
    return dataclasses.replace(made, **more)  # type: ignore[arg-type]


def test_a_record_survives_its_json() -> None:
    made = record(
        failures=[Failure("b", "truncated")], unavailable={"lpips-vgg": "no weights"}, speed={"encode_fps": 3.5}
    )
    assert RunRecord.from_json(made.to_json()) == made


def test_a_record_is_strict_json() -> None:
    with pytest.raises(ValueError, match="JSON"):
        record(value=float("nan")).to_json()
    parsed = json.loads(record().to_json(), parse_constant=lambda c: pytest.fail(f"{c} is not JSON"))
    assert parsed["schema"] == 1


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
