"""What the tables are made of, without engines and without a network:

    python3 -m unittest discover -s scripts/engines
"""

import contextlib
import io
import tempfile
import unittest
from pathlib import Path
from types import SimpleNamespace

import arguments
import install
import ours
import turns
from cell import Cell, cells
from cores import busy
from failure import Failure
from instruction_sets import described, detected, environment, processor, restricted
from layers import Layer, named, read_layers
from roofline import Machine, bound, bound_name, layer_cost, network_cost, training_cost
from table import best, number, ratio, table

MACHINE = Machine(peak=100.0, bandwidths=[[1 << 20, 200e9], [64 << 20, 20e9]])


def quiet(run):
    """The result, and what was written to stderr."""
    stderr = io.StringIO()
    with contextlib.redirect_stderr(stderr):
        return run(), stderr.getvalue()


class Roofline(unittest.TestCase):
    def test_a_layer_counts_operations_and_bytes_once(self):
        cost = layer_cost(Layer(16, 64, 32, 1), 2)
        self.assertEqual(cost.operations, 2 * 2 * 32 * 32 * 16 * 64)
        self.assertEqual(cost.size, 4 * (2 * 32 * 32 * (16 + 64) + 16 * 64))

    def test_the_lower_bound_decides(self):
        # 10^9 operations at 100 GFLOPS are 10 ms, 10^6 bytes at 200 GB/s 5 us.
        cost = network_cost(macs=5e8, weights=200_000, image_len=50_000, batch=1)
        self.assertEqual((cost.operations, cost.size), (1e9, 1e6))
        self.assertAlmostEqual(bound(cost, MACHINE, 1), 100)
        self.assertEqual(bound_name(cost, MACHINE), "arithmetic")
        # 4 x 10^7 bytes at the 20 GB/s of a working set of that size are 2 ms.
        cost = network_cost(macs=5e5, weights=10_000_000, image_len=0, batch=1)
        self.assertAlmostEqual(bound(cost, MACHINE, 1), 500)
        self.assertEqual(bound_name(cost, MACHINE), "bytes")

    def test_the_bandwidth_is_that_of_the_next_larger_working_set(self):
        rates = [MACHINE.bandwidth(size) for size in (1, 1 << 20, (1 << 20) + 1, 1 << 40)]
        self.assertEqual(rates, [200e9, 200e9, 20e9, 20e9])

    def test_a_step_of_training_is_three_forward_passes(self):
        self.assertAlmostEqual(bound(training_cost(1e6, 128), MACHINE, 128), 1e11 / 6e6)


class InTurns(unittest.TestCase):
    def test_rounds_alternate_and_medians_are_of_rounds(self):
        taken, rates = [], iter([3.0, 1.0, 2.0])

        def measure(name):
            def rate(_):
                taken.append(name)
                return {"rate": next(rates) if name == "a" else 5.0}

            return rate

        cell, kept = Cell("layers", "64x64@8k3", 1), []
        contest = turns.Turns(3, kept.append)
        quiet(lambda: contest.run([cell], {"a": measure("a"), "b": measure("b")}))
        self.assertEqual("".join(taken), "abbaab")
        self.assertEqual(contest.median(cell, "a"), 2.0)
        self.assertEqual([row["round"] for row in kept], [1, 1, 2, 2, 3, 3])
        self.assertEqual(kept[0]["name"], "64x64@8k3")

    def test_what_fails_once_has_no_figure_and_is_not_tried_again(self):
        results = iter([{"rate": 1.0}, None])

        def measure(_):
            if (row := next(results)) is None:
                raise Failure("out of memory")
            return row

        cell = Cell("networks", "resnet20", 64)
        contest = turns.Turns(4)
        _, said = quiet(lambda: contest.run([cell], {"mnn": measure}))
        self.assertIsNone(contest.median(cell, "mnn"))
        self.assertEqual(said.count("resnet20, batch 64: mnn: out of memory\n"), 1)


class Tables(unittest.TestCase):
    def test_a_ratio_is_never_rounded_up(self):
        self.assertEqual([ratio(323.8, 324.8), ratio(2.0, 2.0)], ["0.99", "1.00"])

    def test_a_row_has_medians_ratios_and_the_roofline(self):
        done, failed = Cell("layers", "16x64@32k1", 1), Cell("layers", "16x64@32k1", 64)
        contest = turns.Turns(1)
        for cell in (done, failed):
            contest.rows[cell, "ours"] = [{"rate": 60.0, "gated": 110.0}]
        contest.rows[done, "mnn"] = [{"rate": 40.0}]
        contest.rows[done, "ncnn"] = [{"rate": 50.0}]
        titles = {"mnn": "MNN", "ncnn": "ncnn"}
        text = table("layers", [done, failed], contest, titles, MACHINE, {})
        lines = text.splitlines()
        self.assertEqual(len({line.count("|") for line in lines}), 1)
        expected = "| 16x64@32k1 | 1 | 60 | 110 | 40 | 50 | ncnn | 1.20 | 2.20 | 100 | arithmetic |"
        self.assertEqual(lines[2], expected)
        self.assertIn("| 64 | 60 | 110 | - | - | - | - | - |", lines[3])

    def test_a_network_that_was_not_exported_has_no_roofline(self):
        cell = Cell("networks", "resnet20", 1)
        text = table("networks", [cell], turns.Turns(1), {}, MACHINE, {})
        self.assertTrue(text.endswith("| resnet20 | 1 | - | - | - | - | - | - | - |"), text)

    def test_numbers_have_three_digits_at_least(self):
        shown = [number(value) for value in (1234.5, 123.4, 12.34, 0.5, None)]
        self.assertEqual(shown, ["1234", "123", "12.3", "0.5", "-"])
        self.assertEqual([ratio(1.0, 3.0), ratio(None, 3.0), ratio(1.0, None)], ["0.33", "-", "-"])
        self.assertEqual(best({"a": None, "b": 2.0, "c": 1.0}), ("b", 2.0))
        self.assertEqual(best({"a": None}), (None, None))


class Programs(unittest.TestCase):
    def test_the_layers_are_those_of_the_rust_source(self):
        layers = read_layers()
        self.assertIn(Layer(64, 64, 8, 3), layers)
        self.assertEqual([named(str(layer)) for layer in layers], layers)

    def test_rates_of_a_layer_are_of_no_other(self):
        row = {"ci": 16, "co": 64, "h": 32, "k": 1}
        rows = [
            {**row, "gating": "none", "density": 1.0, "gflops": 10.0},
            {**row, "gating": "output", "density": 0.5, "gflops": 18.0},
            {**row, "ci": 116, "gating": "none", "density": 1.0, "gflops": 99.0},
        ]
        rates = ours.layer_rates(rows, Layer(16, 64, 32, 1))
        self.assertEqual(rates, {"rate": 10.0, "gated": 18.0})

    def test_rates_of_training_are_those_that_criterion_keeps(self):
        with tempfile.TemporaryDirectory() as home:
            for name, nanoseconds in (("plain", 1e9), ("gated", 2e9)):
                folder = Path(home) / "train step" / name / "128/new"
                folder.mkdir(parents=True)
                text = f'{{"median": {{"point_estimate": {nanoseconds}}}}}'
                (folder / "estimates.json").write_text(text)
            rates = ours.training_rates(Path(home))
            self.assertEqual(rates, {"rate": 128.0, "gated": 64.0})
            with self.assertRaisesRegex(Failure, "kept nothing"):
                ours.training_rates(Path(home) / "elsewhere")

    def test_every_installed_engine_is_pinned(self):
        wanted = install.pins(install.PINS.read_text())
        engines = [engine for engine in arguments.ENGINES if engine != "pytorch"]
        self.assertLessEqual({*engines, *install.COMMON}, wanted.keys())
        self.assertTrue(all("==" in pin for pin in wanted.values()))


class Options(unittest.TestCase):
    def test_rows_are_what_the_options_name(self):
        args = SimpleNamespace(layer=["a", "b"], network=["c"], batch=[1, 64])
        names = [str(cell) for cell in cells("layers", args)]
        self.assertEqual(names, ["a, batch 1", "a, batch 64", "b, batch 1", "b, batch 64"])
        self.assertEqual([str(cell) for cell in cells("training", args)], ["resnet20, batch 128"])

    def test_a_wrong_option_is_told_in_one_line(self):
        for words in (["--rounds", "0"], ["--layer", "3x3"], ["--threads", "two"], ["--no"]):
            stderr = io.StringIO()
            with self.assertRaises(SystemExit), contextlib.redirect_stderr(stderr):
                arguments.parser().parse_args(words)
            self.assertEqual(stderr.getvalue().count("\n"), 1, stderr.getvalue())
            self.assertIn(words[-1], stderr.getvalue())


    def test_a_busy_machine_is_told(self):
        self.assertIsNone(busy(0.1, 2))
        self.assertIn("load average is 1.5", busy(1.5, 2))


class InstructionSets(unittest.TestCase):
    def test_the_best_set_is_detected(self):
        avx512 = {"avx512f", "avx512vl", "avx512bw", "avx512dq"}
        self.assertEqual(detected({"avx2", "fma"} | avx512), "avx512")
        self.assertEqual(detected({"avx2", "fma", "avx512f"}), "avx2")
        self.assertIsNone(detected(set()))

    def test_a_set_is_asked_for_where_that_can_be(self):
        self.assertEqual(environment("ours", "avx2"), {"GATERNET_ISA": "avx2"})
        self.assertEqual(environment("ours", None), {})
        self.assertEqual(environment("mnn", "avx2"), {})
        self.assertFalse(restricted("mnn", "avx2", "avx512"))
        self.assertTrue(restricted("mnn", "avx2", "avx2"))
        self.assertIn("cannot be restricted", described("mnn", "avx2", "avx512"))
        self.assertEqual(described("openvino", "avx2", "avx512", "jit_avx2"), "jit_avx2")

    def test_the_processor_is_read_where_there_is_a_file(self):
        with tempfile.NamedTemporaryFile("w") as file:
            file.write("model name\t: Some CPU\nflags\t\t: fma avx2\n")
            file.flush()
            self.assertEqual(processor(file.name), ("Some CPU", {"avx2", "fma"}))
        self.assertEqual(processor("/nonexistent"), ("unknown processor", set()))


if __name__ == "__main__":
    unittest.main()
