// Sending rows again, in any order and any batches, leaves the database that one send leaves.
#include <algorithm>
#include <catch2/catch.hpp>
#include <random>

#include "store/store.h"
#include "unit/store_fixture.h"

namespace tandem::test::store_resend_property {
namespace {

std::vector<Row> rows_of(const std::string& run, std::mt19937_64& rng) {
  std::vector<Row> rows;
  const auto below = [&rng](int n) { return static_cast<std::int64_t>(rng() % n); };
  for (std::int64_t i = 0; i < 60; ++i) {
    const std::string layer = "fc" + std::to_string(below(3));
    switch (below(6)) {
      case 0:
        rows.push_back(test::eval(run, i, below(4), 1 + below(3), below(100), 100));
        break;
      case 1:
        rows.push_back({run, i, TopologyRow{i, layer, below(99), below(9), below(9), "ab"}});
        break;
      case 2:
        rows.push_back(test::state(run, i, i % 2 == 0 ? "running" : "stopped", i));
        break;
      case 3:
        rows.push_back({run, i, ProvenanceRow{"{\"a\":" + std::to_string(below(3)) + "}"}});
        break;
      case 4:
        rows.push_back({run, i, DigestRow{i, {layer, "bias"}, {rng(), rng()}}});
        break;
      default:
        rows.push_back(test::metric(run, i, i, layer, "m" + std::to_string(below(4)), 0.5));
    }
  }
  return rows;
}

void send(StoreWriter& writer, const std::vector<Row>& rows, std::mt19937_64& rng) {
  for (std::size_t i = 0; i < rows.size();) {
    const std::size_t n = std::min<std::size_t>(1 + rng() % 17, rows.size() - i);
    writer.insert({rows.begin() + i, rows.begin() + i + n});
    i += n;
  }
}

TEST_CASE("rows sent again in any order change nothing", "[property]") {
  const std::uint64_t seed = std::random_device{}();
  INFO("seed " << seed);
  std::mt19937_64 rng(seed);
  for (int trial = 0; trial < 8; ++trial) {
    const TemporaryFolder folder;
    const RunRecord a = test::make_run({{"seed", "1"}}), b = test::make_run({{"seed", "2"}});
    std::vector<Row> once = rows_of(a.id, rng);
    for (const Row& row : rows_of(b.id, rng)) once.push_back(row);
    std::vector<Row> again = once;
    for (int i = 0; i < 100; ++i) again.push_back(once[rng() % once.size()]);
    std::shuffle(again.begin(), again.end(), rng);
    {
      StoreWriter one(folder / "one.sqlite"), many(folder / "many.sqlite");
      for (StoreWriter* writer : {&one, &many}) {
        writer->add_runs({a, b});
        writer->begin_attempt(a.id);
        writer->begin_attempt(b.id);
      }
      one.insert(once);
      send(many, again, rng);
      for (Row& row : again) row = decode_row(encode_row(row));
      send(many, again, rng);
    }
    CHECK(test::dump(folder / "one.sqlite") == test::dump(folder / "many.sqlite"));
  }
}

}  // namespace
}  // namespace tandem::test::store_resend_property
