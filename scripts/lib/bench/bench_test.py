#!/usr/bin/env python3
"""Checks the pure parts of scripts/bench: what would make a wrong figure look right. Run by scripts/test."""

import pathlib
import sys
import tempfile
import unittest

import drain
import measure
import server
from figures import Check, Result, Sample, absolute, fastest, markdown, ratio, render, single, summary
from rows import ROWS, interleaved


def samples(*seconds, **fields):
    return [Sample(s, **fields) for s in seconds]


class Figures(unittest.TestCase):
    def test_a_ratio_is_of_medians_and_its_spread_of_pairs(self):
        check = ratio("time", samples(2, 9, 4), samples(4, 3, 8), "seconds", 1.05)
        self.assertEqual((check.value, check.low, check.high), (1.0, 0.5, 3.0))
        self.assertTrue(check.kept)

    def test_nothing_measured_is_no_figure(self):
        for ours, theirs in (([], samples(1)), (samples(1), []), (samples(1), samples(0))):
            with self.subTest(ours=ours, theirs=theirs), self.assertRaises(ValueError):
                ratio("time", ours, theirs, "seconds")

    def test_a_limit_holds_for_the_worst_run_a_time_for_the_median(self):
        runs = [Sample(1, peak=100), Sample(9, peak=300), Sample(2, peak=200)]
        self.assertEqual(absolute("peak", runs, "peak", 250, "MiB").kept, False)
        self.assertEqual(absolute("time", runs, "seconds", 2).kept, True)

    def test_below_and_at_most_differ_at_the_goal(self):
        self.assertEqual([single("x", 300, 300, "count", below=b).kept for b in (False, True)], [True, False])
        self.assertIsNone(single("x", 300).kept)

    def test_the_best_rival_is_the_fastest_median(self):
        self.assertEqual(fastest({"a": samples(1, 5, 6), "b": samples(4, 4, 4)}), "b")

    def test_the_table_names_figure_goal_and_mark(self):
        result = Result("r", "a row", {"pgkeep": samples(1.0, 1.2, 1.1, cpu=0.5, written=3_000_000, objects=7)},
                        [Check("time / rival", 1.1, 0.9, 1.2, 1.05), Check("bytes / rival", 0.00002, 0.00002, 0.00002, 0.001, below=True)])
        text = render(result)
        for part in ("1.10 s", "(1.00 s – 1.20 s)", "3.0 MB in 7 files", "MISSED", "goal ≤ 1.05", "0.00002", "goal < 0.00100", "kept"):
            self.assertIn(part, text)
        self.assertTrue(summary([result]).endswith("1 goals kept, 1 missed"), summary([result]))
        self.assertEqual([c["kept"] for c in result.document()["checks"]], [False, True])


    def test_the_table_of_the_document_keeps_the_later_of_two_measurements(self):
        def document(value):
            result = Result("r", "a row", {"pgkeep": samples(value)}, [single("time / a | b", value, 1.05, "ratio")])
            return {"rows": [result.document()]}

        table = markdown([document(2.0), document(1.0)])
        self.assertIn("| time / a \\| b | 1.00 |  | ≤ 1.05 | kept |", table)
        self.assertNotIn("2.00", table)


class Measuring(unittest.TestCase):
    def test_a_command_is_measured_with_its_children(self):
        burn = "import time\nt = time.process_time()\nwhile time.process_time() - t < 0.2: pass"
        sample, output = measure.run(["bash", "-c", f"{sys.executable} -c '{burn}' && echo done"])
        self.assertEqual(output, "done\n")
        self.assertGreaterEqual(sample.cpu, 0.2)
        self.assertGreater(sample.seconds, 0)

    def test_the_peak_is_the_process_own(self):
        grow = "import time; b = bytearray(80 << 20); del b; time.sleep(0.2)"
        sample, _ = measure.run([sys.executable, "-c", grow])
        self.assertGreater(sample.peak, 80 << 20)
        self.assertLess(sample.peak, 160 << 20)

    def test_a_failing_command_is_a_failure_with_its_words(self):
        with self.assertRaises(measure.CommandFailed) as caught:
            measure.run(["bash", "-euo", "pipefail", "-c", "(echo broken >&2; exit 3) | cat"])
        self.assertIn("exit code 3", str(caught.exception))
        self.assertIn("broken", str(caught.exception))

    def test_high_water_mark(self):
        self.assertEqual(measure.high_water_mark("Name:\tx\nVmHWM:\t  2048 kB\nVmRSS:\t 1 kB\n"), 2 << 20)
        self.assertEqual(measure.high_water_mark("Name:\tx\nState:\tZ (zombie)\n"), 0)

    def test_new_and_changed_files_are_written_and_others_not(self):
        with tempfile.TemporaryDirectory() as name:
            folder = pathlib.Path(name)
            for file, size in (("kept", 5), ("replaced", 7), ("gone", 11)):
                (folder / file).write_bytes(b"x" * size)
            before = measure.inventory(folder)
            (folder / "gone").unlink()
            (folder / "new").write_bytes(b"x" * 13)
            (folder / "temporary").write_bytes(b"y" * 7)
            (folder / "temporary").rename(folder / "replaced")
            self.assertEqual(measure.written(before, measure.inventory(folder)), (20, 2))

    def test_contenders_take_turns_and_turn_about(self):
        order = []
        interleaved(3, {"a": lambda: order.append("a"), "b": lambda: order.append("b")})
        self.assertEqual("".join(order), "abbaab")


class Server(unittest.TestCase):
    def test_scram_gives_the_answers_of_the_rfc(self):
        exchange = server.Scram("pencil", "user", "rOprNGfwEbeRWgbNEkqO")
        challenge = "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"
        self.assertTrue(exchange.final(challenge).endswith("p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="))
        exchange.check("v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=")
        with self.assertRaises(server.ServerError):
            exchange.check("v=7rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=")

    def test_rows_are_decoded(self):
        self.assertEqual(server.fields(b"\0\x03\0\0\0\x02ab\xff\xff\xff\xff\0\0\0\0"), ("ab", None, ""))

    def test_the_end_of_a_copy_is_not_found_in_rows(self):
        row = "d\0\0\0\x18a row about COPY 12 Z ok\n".encode()
        end = b"c\0\0\0\x04C\0\0\0\x0cCOPY 42\0Z\0\0\0\x05I"
        self.assertIsNone(server.COPY_END.search(row))
        self.assertEqual(server.COPY_END.search(row + end)[1], b"42")

    def test_pieces_cover_a_table_without_overlap(self):
        self.assertEqual(drain.pieces("s.t", 10, "a, b", 2), ["COPY s.t TO STDOUT"])
        self.assertEqual(drain.pieces("s.t", 5001, "a, b", 2), [
            "COPY (SELECT a, b FROM ONLY s.t WHERE ctid >= '(0,0)' AND ctid < '(2500,0)') TO STDOUT",
            "COPY (SELECT a, b FROM ONLY s.t WHERE ctid >= '(2500,0)') TO STDOUT"])


class Rows(unittest.TestCase):
    def test_rows_are_named_after_themselves(self):
        self.assertTrue(all(name == row.name and row.about for name, row in ROWS.items()))
        self.assertTrue(any(row.quick for row in ROWS.values()))


if __name__ == "__main__":
    unittest.main()
