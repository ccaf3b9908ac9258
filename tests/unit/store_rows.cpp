// Rows as JSON lines: everything that goes in comes out, bit for bit.
#include <catch2/catch.hpp>
#include <cmath>
#include <limits>

#include "core/error.h"
#include "store/rows.h"

namespace tandem::test::store_rows_unit {
namespace {

template <class Body>
Body round_trip(const Body& body) {
  const std::string line = encode_row({"ab12", 7, body});
  CHECK(line.find('\n') == std::string::npos);
  const Row row = decode_row(line);
  CHECK(row.run == "ab12");
  CHECK(row.sequence == 7);
  return std::get<Body>(row.body);
}

TEST_CASE("an evaluation travels whole", "[unit]") {
  EvalRow r;
  r.stage = 3;
  r.step = 1234567890123;
  r.task = 2;
  r.readout.attention.stream = "sparse";
  r.readout.attention.budget = 4;
  r.readout.weights.stream = "sparse";
  r.readout.weights.budget = 0.1;
  r.readout.masked = true;
  r.split = "test";
  r.n_correct = 99;
  r.n_total = 10000;
  r.loss = 1.0 / 3.0;
  r.example_bits = std::string("\x00\xff\x0a\"\x80", 5);
  const EvalRow back = round_trip(r);
  CHECK(back.stage == 3);
  CHECK(back.step == 1234567890123);
  CHECK(back.task == 2);
  CHECK(back.readout.attention.stream == "sparse");
  CHECK(back.readout.attention.budget.value() == 4);
  CHECK(back.readout.weights.stream == "sparse");
  CHECK(back.readout.weights.budget.value() == 0.1);
  CHECK(back.readout.masked);
  CHECK(back.split == "test");
  CHECK(back.n_correct == 99);
  CHECK(back.n_total == 10000);
  CHECK(back.loss == 1.0 / 3.0);
  CHECK(back.example_bits == r.example_bits);
}

TEST_CASE("absent budgets and bits stay absent", "[unit]") {
  const EvalRow back = round_trip(EvalRow{});
  CHECK_FALSE(back.readout.attention.budget.has_value());
  CHECK_FALSE(back.readout.weights.budget.has_value());
  CHECK(back.example_bits.empty());
}

TEST_CASE("numbers that JSON lacks, and the least and largest, travel", "[unit]") {
  const double inf = std::numeric_limits<double>::infinity();
  CHECK(std::isnan(round_trip(MetricRow{1, "fc1", "gap", std::nan("")}).value));
  CHECK(round_trip(MetricRow{1, "fc1", "gap", inf}).value == inf);
  CHECK(round_trip(MetricRow{1, "fc1", "gap", -inf}).value == -inf);
  for (const double x : {5e-324, 1.7976931348623157e308, -0.1, 0.1 + 0.2, 3.0})
    CHECK(round_trip(MetricRow{1, "", "gap", x}).value == x);
}

TEST_CASE("digests travel whole, as many as there are tensors", "[unit]") {
  const auto d =
      round_trip(DigestRow{7, {"layer0.weight", "a\n\"b\""}, {0xFFFFFFFFFFFFFFFFull, 1}});
  CHECK(d.step == 7);
  CHECK(d.tensors == std::vector<std::string>{"layer0.weight", "a\n\"b\""});
  CHECK(d.digests == std::vector<std::uint64_t>{0xFFFFFFFFFFFFFFFFull, 1});
  CHECK(round_trip(DigestRow{}).tensors.empty());
  CHECK_THROWS_WITH(decode_row(encode_row({"ab12", 7, DigestRow{1, {"a"}, {1, 2}}})),
                    Catch::Contains("2 digests of 1 tensors"));
}

TEST_CASE("topology, state and provenance travel whole", "[unit]") {
  const auto t = round_trip(TopologyRow{5, "fc\n1", 100, 10, 11, "0123456789abcdef"});
  CHECK(t.layer == "fc\n1");
  CHECK(t.nnz == 100);
  CHECK(t.dropped == 10);
  CHECK(t.grown == 11);
  CHECK(t.mask_hash == "0123456789abcdef");
  const auto s = round_trip(StateRow{"diverged", 9, 1.25, 2.5, 0.125, 1e15, 2e6, "loss is nan"});
  CHECK(s.state == "diverged");
  CHECK(s.step == 9);
  CHECK(s.train_seconds == 1.25);
  CHECK(s.eval_seconds == 2.5);
  CHECK(s.probe_seconds == 0.125);
  CHECK(s.train_flops == 1e15);
  CHECK(s.inference_flops == 2e6);
  CHECK(s.message == "loss is nan");
  CHECK(round_trip(ProvenanceRow{"{\"revision\": \"abc\"}"}).json == "{\"revision\": \"abc\"}");
}

TEST_CASE("a malformed row is a StoreError that shows it", "[unit]") {
  const std::string good = encode_row({"ab12", 7, MetricRow{1, "fc1", "gap", 2.0}});
  for (std::size_t cut = 0; cut < good.size(); cut += 3)
    CHECK_THROWS_AS(decode_row(good.substr(0, cut)), StoreError);
  for (const char* bad :
       {"[]", "null", "{}", R"({"kind":"metric","run":"a","sequence":"x"})",
        R"({"kind":"other","run":"a","sequence":1})",
        R"({"kind":"metric","run":"a","sequence":1,"step":1,"layer":"","name":"n","value":"x"})"})
    CHECK_THROWS_AS(decode_row(bad), StoreError);
  CHECK_THROWS_WITH(decode_row(R"({"kind":"other","run":"a","sequence":1})"),
                    Catch::Contains("other") && Catch::Contains("topology"));
}

}  // namespace
}  // namespace tandem::test::store_rows_unit
