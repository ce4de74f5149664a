import pytest

from lidiag import suite
from lidiag.errors import LidiagError

GOOD = """
name = "mine"
version = 1
description = "d"
[[steps]]
probe = "retrieval"
parameters = { poolings = ["maxsim"] }
[[gates]]
probe = "retrieval"
name = "nDCG@10"
at = { pooling = "maxsim" }
op = ">="
bound = 0.5
reason = "r"
"""


def written(tmp_path, text):
    path = tmp_path / "mine.toml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def test_a_suite_is_read_from_toml(tmp_path):
    read = suite.read(written(tmp_path, GOOD))
    assert (read.name, read.version, read.steps[0].parameters, read.gates[0].bound) == ("mine", 1, {"poolings": ["maxsim"]}, 0.5)


def test_the_digest_follows_questions_and_gates_but_not_the_description(tmp_path):
    first = suite.read(written(tmp_path, GOOD)).digest
    assert suite.read(written(tmp_path, GOOD.replace('description = "d"', 'description = "e"'))).digest == first
    assert suite.read(written(tmp_path, GOOD.replace("0.5", "0.6"))).digest != first
    assert suite.read(written(tmp_path, GOOD.replace('["maxsim"]', '["mean"]'))).digest != first


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("name = ", "not TOML"),
        (b"\xff\xfe", "not TOML"),
        (GOOD.replace("version = 1", "version = 0"), "version"),
        (GOOD.replace('op = ">="', 'op = "=="'), "op"),
        (GOOD.replace('reason = "r"', ""), "reason"),
        (GOOD + "\nextra = 1\n", "extra"),
        (GOOD.replace('name = "mine"', 'name = "../mine"'), "name"),
        ('name = "mine"\nversion = 1\ndescription = "d"', "steps"),
    ],
)
def test_a_suite_that_is_not_one_is_named_with_its_fault(tmp_path, text, said):
    with pytest.raises(LidiagError, match=said):
        suite.read(written(tmp_path, text))


def test_a_missing_suite_file_is_an_error(tmp_path):
    with pytest.raises(LidiagError, match="cannot be read"):
        suite.read(tmp_path / "none.toml")
