"""Two processes that share a run do what one does: the same images, and losses that differ by rounding alone."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from support import shared_work

from dfq.system.exchange import gathered, number_of_first, of_first, share_of
from dfq.system.launch import run_in_processes
from dfq.system.processes import ONE, is_first_to_fail, own_device, processes, run_size
from dfq.system.seeds import seed_of_part

TESTS = Path(__file__).parents[1]
LAUNCH = "import sys; from dfq.system.launch import run_in_processes; sys.exit(run_in_processes(2, sys.argv[1:]))"


def launched(*arguments: object) -> subprocess.CompletedProcess:
    environment = {**os.environ, "PYTHONPATH": str(TESTS), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", LAUNCH, *map(str, arguments)]
    return subprocess.run(command, env=environment, capture_output=True, text=True)


@pytest.fixture(scope="module")
def by_two(tmp_path_factory):
    file = tmp_path_factory.mktemp("two") / "found.pt"
    ended = launched(TESTS / "support" / "shared_work.py", file)
    assert ended.returncode == 0, ended.stderr
    assert ended.stderr == ""
    return torch.load(file, weights_only=True)


@pytest.fixture(scope="module")
def by_one():
    return shared_work.all_work()


def test_images_are_identical(by_one, by_two):
    assert torch.equal(by_one["images"], by_two["images"])


def test_blocks_are_fitted_alike(by_one, by_two):
    assert by_two["reconstructed"]["kept"] == by_one["reconstructed"]["kept"]
    assert by_two["reconstructed"]["errors"] == pytest.approx(by_one["reconstructed"]["errors"], abs=1e-4)


@pytest.mark.parametrize("objective", ["kd", "reconstruct"])
def test_students_are_trained_alike(by_one, by_two, objective):
    assert by_two["trained"][objective] == pytest.approx(by_one["trained"][objective], abs=1e-4)


def test_what_processes_exchange(by_two):
    found = by_two["exchanged"]
    assert found["shares"] == [[(0, 1), (0, 3), (0, 4)], [(1, 1), (3, 5), (4, 8)]]
    assert found["first"]["tensor"].tolist() == [0.0, 0.0] and found["number"] == 0.5


def test_one_process_exchanges_nothing():
    assert processes() == ONE and run_size() == 1
    assert of_first(lambda: 3) == 3 and gathered(4) == [4] and number_of_first(0.5) == 0.5
    assert share_of(7) == slice(0, 7) and own_device("cuda:1") == "cuda:1" and is_first_to_fail()


def test_seeds_of_parts_differ():
    seeds = {seed_of_part(seed, number) for seed in range(20) for number in range(20)}
    assert len(seeds) == 400 and all(0 <= seed < 2**63 for seed in seeds)


def test_a_process_that_is_killed_is_named(tmp_path):
    program = tmp_path / "dies.py"
    program.write_text(
        "import os, signal, time\nos.kill(os.getpid(), signal.SIGKILL) if os.environ['RANK'] == '1' else time.sleep(60)"
    )
    ended = launched(program)
    assert ended.returncode == 1 and "process 1 of 2 was ended by SIGKILL" in ended.stderr


def test_the_exit_code_is_the_largest(tmp_path):
    program = tmp_path / "fails.py"
    program.write_text("import os, sys, time\nsys.exit(2) if os.environ['RANK'] == '1' else time.sleep(60)")
    assert run_in_processes(2, [str(program)]) == 2
