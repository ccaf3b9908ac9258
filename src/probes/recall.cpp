// This family measures how recall depends on the distance of what is recalled, in both streams of
// attention: of sequences that are asked what stands in them (data sets of recall), over 1,024
// validation sequences, or as many as there are, of the tasks that have begun. The distance of a
// query is how many tokens before it its answer stands; it is counted in bins of D to 2D - 1
// tokens, which are named by D = 1, 2, 4, ...
//   recall_full_D, recall_sparse_D            accuracy with full and with sparse attention
//   recall_loss_full_D, recall_loss_sparse_D  mean cross-entropy (nats)
//   recall_queries_D                          how many queries these are
//   recall_depth_full_P, recall_depth_sparse_P  accuracy by where the answer stands on the way
//                   from the sequence's start to the query, in tenths: P = 0, 10, ..., 90 percent
//   recall_whole_full, recall_whole_sparse    share of sequences of which every query is answered
// The sparse stream has its own budget of blocks; the weights are those of the stream that the
// method trains. A bin without queries has no row.
#include <array>
#include <bit>
#include <vector>

#include "data/gather.h"
#include "data/tensor.h"
#include "probes/recorder.h"
#include "readout/readout.h"

namespace tandem {
namespace {

constexpr std::int64_t kDepthBins = 10;

struct RecallBin {
  std::int64_t queries = 0;
  std::array<double, 2> loss = {};  // sums, of full and of sparse attention
  std::array<std::int64_t, 2> correct = {};

  void add(std::size_t stream, double own_loss, bool right) {
    queries += stream == 0;
    loss[stream] += own_loss;
    correct[stream] += right;
  }
};

constexpr std::array<const char*, 2> kRecallStreams = {"full", "sparse"};

// Of one replica.
struct RecallCounts {
  std::vector<RecallBin> distances, depths;
  RecallBin whole;  // of sequences

  // q of the part's queries, in the order of sequences; losses and hits are of all of them.
  void add(std::size_t stream, const AskedPart& part, const double* losses, const bool* hits) {
    const auto* place = part.place.const_data_ptr<std::int64_t>();
    const auto* source = part.sources.const_data_ptr<std::int64_t>();
    const std::int64_t sequences = part.place.size(0), queries = part.place.size(1);
    for (std::int64_t b = 0; b < sequences; ++b) {
      bool all = true;
      for (std::int64_t i = b * queries; i < (b + 1) * queries; ++i) {
        const auto distance = static_cast<std::uint64_t>(place[i] - source[i]);
        of(distances, static_cast<std::size_t>(std::bit_width(distance)) - 1)
            .add(stream, losses[i], hits[i]);
        of(depths, static_cast<std::size_t>(kDepthBins * source[i] / place[i]))
            .add(stream, losses[i], hits[i]);
        all = all && hits[i];
      }
      whole.add(stream, 0, all);
    }
  }

 private:
  static RecallBin& of(std::vector<RecallBin>& bins, std::size_t which) {
    if (bins.size() <= which) bins.resize(which + 1);
    return bins[which];
  }
};

class RecallByDistanceProbe : public Probe {
 public:
  bool by_default() const override { return false; }
  bool at_task_ends() const override { return true; }

  Measurements measure(const ProbeInput& input) override {
    at::NoGradGuard no_grad;
    const auto replicas = static_cast<std::int64_t>(input.runs.size());
    Recorder rows(replicas);
    if (input.model.sites(Level::kAttention) == 0) return rows.finish();
    std::vector<RecallCounts> counts(input.runs.size());
    for (std::int64_t p = 0; p < input.asked_parts; ++p) {
      const AskedPart part = input.asked_part(p);
      const auto read = input.read_as ? input.read_as(part.task) : nullptr;
      for (std::size_t stream = 0; stream < kRecallStreams.size(); ++stream) {
        answer(input, part, stream, counts);
      }
    }
    for (std::int64_t r = 0; r < replicas; ++r) {
      record(rows, r, counts[static_cast<std::size_t>(r)]);
    }
    return rows.finish();
  }

 private:
  static void answer(const ProbeInput& input, const AskedPart& part, std::size_t stream,
                     std::vector<RecallCounts>& counts) {
    Context context = trained_context(input.runs);
    context.plans.attention.wanted = stream == 0 ? StreamsWanted::kFull : StreamsWanted::kSparse;
    const at::Tensor all = input.model.forward(part.x, context);
    const at::Tensor logits =
        asked_rows(all.reshape({all.size(0), -1, all.size(-1)}), part.asked).to(torch::kDouble);
    const at::Tensor loss =
        torch::log_softmax(logits, -1).gather(-1, part.target.unsqueeze(-1)).neg().cpu();
    const at::Tensor hit = logits.argmax(-1).eq(part.target).cpu().contiguous();
    const at::Tensor losses = loss.squeeze(-1).contiguous();
    for (std::size_t r = 0; r < counts.size(); ++r) {
      const std::int64_t first = static_cast<std::int64_t>(r) * part.place.numel();
      counts[r].add(stream, part, losses.const_data_ptr<double>() + first,
                    hit.const_data_ptr<bool>() + first);
    }
  }

  static void record(Recorder& rows, std::int64_t r, const RecallCounts& counts) {
    const auto put = [&](const std::string& name, double sum, std::int64_t of) {
      if (of > 0) rows.whole(r, kAttentionLevel, name, sum / static_cast<double>(of));
    };
    for (std::size_t stream = 0; stream < kRecallStreams.size(); ++stream) {
      const std::string name = kRecallStreams[stream];
      for (std::size_t bin = 0; bin < counts.distances.size(); ++bin) {
        const RecallBin& own = counts.distances[bin];
        const std::string from = std::to_string(std::int64_t{1} << bin);
        put("recall_" + name + "_" + from, static_cast<double>(own.correct[stream]), own.queries);
        put("recall_loss_" + name + "_" + from, own.loss[stream], own.queries);
        if (stream == 0 && own.queries > 0) {
          put("recall_queries_" + from, static_cast<double>(own.queries), 1);
        }
      }
      for (std::size_t bin = 0; bin < counts.depths.size(); ++bin) {
        const RecallBin& own = counts.depths[bin];
        put("recall_depth_" + name + "_" + std::to_string(100 / kDepthBins * bin),
            static_cast<double>(own.correct[stream]), own.queries);
      }
      put("recall_whole_" + name, static_cast<double>(counts.whole.correct[stream]),
          counts.whole.queries);
    }
  }
};

TANDEM_REGISTERED = probes().add(
    {.kind = "probe",
     .name = "recall",
     .summary = "not by default; of sequences that ask what stands in them: recall_full_D, "
                "recall_sparse_D, recall_loss_full_D, recall_loss_sparse_D, recall_queries_D for "
                "answers D to 2D - 1 tokens before the query, recall_depth_full_P, "
                "recall_depth_sparse_P; recall_whole_full, recall_whole_sparse",
     .cite = "",
     .file = __FILE__},
    [](const std::vector<ReadoutRun>&) -> std::unique_ptr<Probe> {
      return std::make_unique<RecallByDistanceProbe>();
    });

}  // namespace
}  // namespace tandem
