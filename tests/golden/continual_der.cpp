// The class-incremental Split MNIST protocol of Buzzega et al. 2020 (arXiv 2004.07211): MLP
// 784-100-100-10, Xavier-uniform start, plain SGD, one epoch, batch 10, natural class order, raw
// pixels. Published: SGD 19.60, Joint 95.57, ER and DER++ with 500 slots 86.12 and
// 91.00 (class-IL); 94.94, 99.51, 99.04, 98.94 masked to the task. Gates are for the mean of three
// seeds; the other gates of the suite are walked by tests/slow/continual_gates.cpp.
#include <catch2/catch.hpp>
#include <iostream>

#include "bench/bench.h"
#include "support/mnist.h"
#include "support/skip.h"
#include "support/train_support.h"

namespace tandem::test::continual_der_golden {

using namespace tandem::test;

namespace {

struct Averages {
  double plain = 0, masked = 0;  // mean over seeds of ACC after the last task, percent
};

// With 500 examples, where there is a buffer.
Averages run_protocol(const std::string& folder, const std::string& strategy) {
  GroupSpec spec;
  spec.runs = der_split_mnist({{"data_dir", folder}}, strategy, 3, 500);
  MemorySink sink;
  run_group(spec, sink);
  Averages averages;
  for (const auto& [key, line] : sink.rows()) {
    const RowBody body = decode_row(line).body;
    const auto* row = std::get_if<EvalRow>(&body);
    if (row == nullptr || row->stage != 5 || row->split != "test") continue;
    if (row->readout.weights.stream != "full") continue;
    const double share =
        100.0 * static_cast<double>(row->n_correct) / static_cast<double>(row->n_total) / (5 * 3);
    (row->readout.masked ? averages.masked : averages.plain) += share;
  }
  return averages;
}

}  // namespace

TEST_CASE("the DER Split MNIST protocol gives the published figures", "[golden]") {
  const std::string folder = mnist_folder();
  if (folder.empty()) return skip(kNoMnist);
  const Averages none = run_protocol(folder, "finetune");
  const Averages joint = run_protocol(folder, "joint");
  const Averages er = run_protocol(folder, "er"), derpp = run_protocol(folder, "derpp");
  std::cout << "class-IL / masked: none " << none.plain << " / " << none.masked << ", joint "
            << joint.plain << " / " << joint.masked << ", er500 " << er.plain << " / " << er.masked
            << ", der++500 " << derpp.plain << " / " << derpp.masked << "\n";
  CHECK(none.plain == Approx(19.6).margin(0.5));
  CHECK(joint.plain == Approx(95.4).margin(1.0));
  CHECK(er.plain == Approx(86.5).margin(4.0));
  CHECK(derpp.plain == Approx(91.0).margin(2.0));
  CHECK(derpp.masked == Approx(99.0).margin(0.5));
  CHECK(joint.masked == Approx(99.3).margin(0.5));
  CHECK(er.masked == Approx(99.0).margin(0.5));
}

}  // namespace tandem::test::continual_der_golden
