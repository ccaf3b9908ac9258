// A repetition of a run against what is stored of it.
#include <catch2/catch.hpp>
#include <limits>

#include "analysis/repetition.h"
#include "core/files.h"
#include "unit/store_fixture.h"

namespace tandem::test::analysis_repetition_unit {
namespace {

using Catch::Contains;
using Kind = TraceKey::Kind;

std::vector<Row> rows_of(const std::string& run) {
  Row lost = eval(run, 6, 2, 1, 8, 10);
  std::get<EvalRow>(lost.body).loss = std::numeric_limits<double>::quiet_NaN();
  Row exact = eval(run, 3, 1, 1, 7, 10);
  std::get<EvalRow>(exact.body).loss = 0.1 + 0.2;
  Row sparse = eval(run, 4, 1, 1, 6, 10);
  std::get<EvalRow>(sparse.body).readout.weights = {"sparse", 0.1, "density"};
  return {{run, 0, TopologyRow{50, "layer0", 9, 2, 2, "0123456789abcdef"}},
          {run, 1, DigestRow{50, {"layer0.weight", "layer0.bias"}, {1, 0xFEDCBA9876543210ull}}},
          {run, 2, DigestRow{100, {"layer0.weight", "layer0.bias"}, {3, 4}}},
          exact,
          sparse,
          {run, 5, DigestRow{200, {"layer0.weight", "layer0.bias"}, {5, 6}}},
          lost,
          metric(run, 7, 200, "", "gap", 1)};
}

RunTrace trace_of(const std::vector<Row>& rows) {
  RunTrace trace;
  for (const Row& row : rows) add_to_trace(trace, row);
  return trace;
}

RunTrace stored(const std::vector<Row>& rows) {
  const TemporaryFolder folder;
  const RunRecord run = make_run({}), other = make_run({{"seed", "2"}});
  StoreWriter writer(folder / "r.sqlite");
  writer.add_runs({other, run});
  writer.insert(rows);
  writer.insert({{other.id, 0, DigestRow{50, {"a"}, {77}}}, eval(other.id, 1, 3, 1, 1, 10)});
  return stored_trace(StoreReader(folder / "r.sqlite"), run.id);
}

template <class Body>
Body& body_of(std::vector<Row>& rows, std::size_t i) {
  return std::get<Body>(rows.at(i).body);
}

}  // namespace

TEST_CASE("what is stored and what comes are the same text where the bits are", "[unit]") {
  const std::vector<Row> rows = rows_of(make_run({}).id);
  const RunTrace kept = stored(rows);
  CHECK(kept == trace_of(rows));
  const TraceComparison same = compare_traces(kept, trace_of(rows));
  CHECK_FALSE(same.differs);
  CHECK(same.steps == 3);
  CHECK(same.last == 200);
  CHECK(counts_text(same) == "3 digests of 2 tensors, 3 evaluations, 1 topology update");
}

TEST_CASE("the first step that differs is named, with all that differs in it", "[unit]") {
  const std::string run = make_run({}).id;
  const RunTrace kept = stored(rows_of(run));
  const auto compared = [&](const auto& change) {
    std::vector<Row> rows = rows_of(run);
    change(rows);
    return compare_traces(kept, trace_of(rows));
  };
  const TraceComparison weights = compared([](std::vector<Row>& rows) {
    body_of<DigestRow>(rows, 2).digests = {3, 5};
    body_of<DigestRow>(rows, 5).digests = {7, 7};
    body_of<EvalRow>(rows, 4).n_correct = 5;
  });
  REQUIRE(weights.differs == 100);
  CHECK(weights.steps == 1);
  CHECK(weights.last == 50);
  CHECK(counts_text(weights) == "1 digest of 2 tensors, 1 topology update");
  REQUIRE(weights.differences.size() == 2);
  CHECK(difference_text(weights.differences[0]) ==
        "tensor layer0.bias: stored 0000000000000004, now 0000000000000005");
  CHECK(difference_text(weights.differences[1]) ==
        "evaluation (validation, stage 1, task 1, attention=none weights=sparse:0.1:density): "
        "stored 6 of 10 correct, loss 0.5, now 5 of 10 correct, loss 0.5");
  const TraceComparison mask = compared(
      [](std::vector<Row>& rows) { body_of<TopologyRow>(rows, 0).mask_hash = "0123456789abcdee"; });
  REQUIRE(mask.differs == 50);
  CHECK(mask.steps == 0);
  CHECK_THAT(difference_text(mask.differences.at(0)),
             Contains("mask of layer layer0: stored 0123456789abcdef (9 active"));
  const TraceComparison bit = compared([](std::vector<Row>& rows) {
    body_of<EvalRow>(rows, 3).loss = 0.3;  // not 0.1 + 0.2
  });
  CHECK(bit.differs == 100);
  const TraceComparison number =
      compared([](std::vector<Row>& rows) { body_of<EvalRow>(rows, 6).loss = 1; });
  REQUIRE(number.differs == 200);
  CHECK_THAT(difference_text(number.differences.at(0)), Contains("loss not a number, now"));
}

TEST_CASE("all that is stored must come again, and what comes besides is passed over", "[unit]") {
  const std::string run = make_run({}).id;
  std::vector<Row> rows = rows_of(run);
  const RunTrace all = trace_of(rows);
  rows.erase(rows.begin() + 2);
  const RunTrace less = trace_of(rows);
  const TraceComparison lost = compare_traces(all, less);
  REQUIRE(lost.differs == 100);
  CHECK_THAT(difference_text(lost.differences.at(0)), Contains("now none"));
  CHECK_FALSE(compare_traces(less, all).differs);
  // Of a repetition under way the steps behind it alone are asked for.
  CHECK_FALSE(compare_traces(all, less, 100).differs);
  CHECK(compare_traces(all, {}, 51).differs == 50);
  CHECK(compare_traces({}, all).steps == 0);
}

TEST_CASE("places are told apart by what bears on a result", "[unit]") {
  const std::string here =
      R"({"revision":"a","device":"cpu","machine":"m","threads":1,"group_size":1,
          "data_files":[{"path":"/x","sha256":"0123456789abcdef"}]})";
  const std::string moved =
      R"({"revision":"a","device":"cpu","machine":"m","threads":1,"group_size":8,
          "data_files":[{"path":"/y","sha256":"0123456789abcdef"}]})";
  CHECK(provenance_differences({moved}, here).empty());
  const std::string elsewhere =
      R"({"revision":"b","device":"cuda:0: H200","machine":"m","threads":1,"group_size":8,
          "data_files":[{"path":"/x","sha256":"fedcba9876543210"}]})";
  CHECK(provenance_differences({moved, elsewhere}, here) ==
        std::vector<std::string>{"revision: b, now a", "device: cuda:0: H200, now cpu",
                                 "runs in its group: 8, now 1",
                                 "data files (SHA-256): fedcba987654, now 0123456789ab"});
  CHECK(provenance_differences({}, here).empty());
}

}  // namespace tandem::test::analysis_repetition_unit
