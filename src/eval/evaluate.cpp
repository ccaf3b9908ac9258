#include "eval/evaluate.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <memory>
#include <set>

#include "config/contexts.h"
#include "core/error.h"
#include "cuda/plugin.h"
#include "data/example.h"
#include "data/in_dtype.h"
#include "data/longer_windows.h"
#include "data/packed.h"
#include "data/tensor.h"
#include "data/upload.h"
#include "eval/nearest_mean.h"
#include "kernels/tally/tally_cuda.h"
#include "nn/rope.h"
#include "plan/group.h"
#include "plan/plan.h"
#include "readout/readout.h"
#include "train/loss.h"

namespace tandem {

namespace {

constexpr double kCurve[] = {0.25, 0.5, 1, 2, 4};

bool carries_full(const Policies& policies) { return policies.dormant_carry_values(); }

}  // namespace

std::vector<ReadoutRun> probe_runs(const Trainer& trainer) {
  std::vector<ReadoutRun> runs;
  for (std::int64_t r = 0; r < trainer.replicas(); ++r) {
    const RunSchedule& run = trainer.run(r);
    runs.push_back({run.config, run.policies, in_full_phase(run, trainer.steps_of(r))});
  }
  return runs;
}

namespace {

// Sequences that are asked at a few places are more, so that accuracies say something.
constexpr std::int64_t kProbeExamples = 500, kProbeWindows = 8, kProbeAsked = 32;

// Of these places in an image set, those of classes that some task has.
std::vector<std::int64_t> of_tasks(const Trainer& trainer, std::vector<std::int64_t> places) {
  std::set<std::int64_t> classes;
  for (const Task& task : trainer.tasks(0).tasks) {
    classes.insert(task.classes.begin(), task.classes.end());
  }
  const auto* labels = trainer.data().labels.const_data_ptr<std::int64_t>();
  std::erase_if(places, [&](std::int64_t each) { return classes.count(labels[each]) == 0; });
  return places;
}

// Examples of the training split, evenly spaced, where there is no validation.
std::vector<std::int64_t> even_examples(const Trainer& trainer, std::int64_t most) {
  const Dataset& data = trainer.data();
  std::optional<WindowStarts> windows;
  if (data.windows()) windows.emplace(data.train, trainer.run(0).config.integer("context"));
  const std::vector<std::int64_t> places = windows            ? std::vector<std::int64_t>()
                                           : data.sequences() ? data.train
                                                              : of_tasks(trainer, data.train);
  const std::int64_t all = windows ? windows->count() : static_cast<std::int64_t>(places.size());
  const std::int64_t count = std::min(most, all);
  std::vector<std::int64_t> examples;
  for (std::int64_t i = 0; i < count; ++i) {
    const std::int64_t at = i * all / count;
    examples.push_back(windows ? windows->at(at) : places[static_cast<std::size_t>(at)]);
  }
  return examples;
}

}  // namespace

namespace {

// Validation examples of the tasks; of a corpus in parts some of each part in turn, so that each
// has its share of the first ones.
std::vector<std::int64_t> in_turn(const Trainer& trainer) {
  const Dataset& data = trainer.data();
  if (!data.sequences()) return of_tasks(trainer, data.validation);
  if (!data.windows() || data.train.size() <= 2) return data.validation;
  std::vector<std::vector<std::int64_t>> parts(data.train.size() / 2);
  for (const std::int64_t start : data.validation) {
    std::size_t part = 0;
    while (part + 1 < parts.size() && start >= data.train[2 * part + 2]) ++part;
    parts[part].push_back(start);
  }
  std::vector<std::int64_t> all;
  for (std::size_t i = 0; all.size() < data.validation.size(); ++i) {
    for (const auto& own : parts) {
      if (i < own.size()) all.push_back(own[i]);
    }
  }
  return all;
}

// With the task whose view of it is meant, where tasks see inputs in their own ways: each then has
// its share of the batch.
std::vector<std::int64_t> probe_examples(const Trainer& trainer) {
  const Dataset& data = trainer.data();
  // At least a window of each part of a corpus.
  const auto parts = static_cast<std::int64_t>(data.windows() ? data.train.size() / 2 : 0);
  const std::int64_t most = data.asked.defined() ? kProbeAsked
                            : data.windows()     ? std::max(kProbeWindows, parts)
                                                 : kProbeExamples;
  const std::vector<std::int64_t> all = in_turn(trainer);
  const auto count = std::min<std::int64_t>(most, static_cast<std::int64_t>(all.size()));
  std::vector<std::int64_t> seen =
      all.empty() ? even_examples(trainer, most)
                  : std::vector<std::int64_t>(all.begin(), all.begin() + count);
  const auto tasks = static_cast<std::int64_t>(trainer.tasks(0).tasks.size());
  for (std::size_t i = 0; i < seen.size() && trainer.tasks(0).has_views(); ++i) {
    seen[i] = example_of(seen[i], 1 + static_cast<std::int64_t>(i) % tasks);
  }
  return seen;
}

}  // namespace

Batch probe_batch(const Trainer& trainer) {
  const std::vector<std::int64_t> seen = probe_examples(trainer);
  const std::vector<std::vector<std::int64_t>> examples(
      static_cast<std::size_t>(trainer.replicas()), seen);
  Batch batch =
      trainer.batches().make(examples, static_cast<std::int64_t>(seen.size()),
                             trainer.tasks(0).mask_evaluation ? OutputsOf::kTask : OutputsOf::kAll);
  // All replicas have the same examples, of which targets of other documents are not asked.
  if (batch.counted.defined()) {
    batch.asked = batch.counted[0].nonzero().view({1, -1}).repeat({trainer.replicas(), 1});
  }
  return batch;
}

std::vector<std::vector<std::int64_t>> probe_tasks(const Trainer& trainer) {
  if (trainer.tasks(0).tasks.size() < 2 || trainer.data().sequences()) return {};
  const std::vector<std::int64_t> seen = probe_examples(trainer);
  const auto* labels = trainer.data().labels.const_data_ptr<std::int64_t>();
  std::vector<std::vector<std::int64_t>> tasks;
  for (std::int64_t r = 0; r < trainer.replicas(); ++r) {
    const std::vector<std::int64_t>& of_class = trainer.tasks(r).task_of_class;
    std::vector<std::int64_t>& own = tasks.emplace_back();
    for (const std::int64_t each : seen) {
      const std::int64_t said = task_of(each);
      const auto label = static_cast<std::size_t>(labels[source_of(each)]);
      own.push_back(said > 0 || of_class.empty() ? std::max<std::int64_t>(1, said)
                                                 : of_class[label]);
    }
  }
  return tasks;
}

RankingBatch ranking_batch(const Batch& batch) {
  return {batch.x, [batch](const at::Tensor& logits) {
            return cross_entropy(logits.reshape({logits.size(0), -1, logits.size(-1)}),
                                 batch.target, batch.weight, batch.allowed);
          }};
}

LayerMasks sparse_net(Trainer& trainer) {
  at::NoGradGuard no_grad;
  const auto runs = probe_runs(trainer);
  const std::vector<double> density = trained_density(runs);
  if (keeps_own_nets(trainer.model(), runs, density)) return {};
  const RankingBatch batch =
      ranks_on_batch(runs) ? ranking_batch(probe_batch(trainer)) : RankingBatch{};
  const DenseCopies copies(trainer.model());
  return readout_masks(trainer.model(), runs, density, batch);
}

std::vector<BudgetReadout> readouts_of(const RunSchedule& run, bool has_attention, bool curve) {
  const bool weights_full = carries_full(run.policies.weights);
  const bool home_attention_sparse =
      run.policies.attention.schedule.kind == Schedule::Kind::kSparse;
  const bool home_weights_sparse = !weights_full;
  std::vector<BudgetReadout> all;
  for (const bool attention_sparse : {false, true}) {
    if (attention_sparse && !has_attention) continue;
    for (const bool weights_sparse : {false, true}) {
      if (!weights_sparse && !weights_full) continue;
      all.push_back({attention_sparse, weights_sparse, 1, 1});
    }
  }
  if (!curve) return all;
  const double density = run.config.real("density");
  for (const double factor : kCurve) {
    if (factor == 1) continue;
    const double blocks = static_cast<double>(run.config.integer("blocks")) * factor;
    const bool whole = has_attention && blocks >= 1 && blocks == std::round(blocks);
    if (whole) all.push_back({true, home_weights_sparse, factor, 1});
    const bool exists = factor < 1 || (weights_full && factor * density < 1);
    if (exists) all.push_back({home_attention_sparse && has_attention, true, 1, factor});
  }
  return all;
}

namespace {

// One kind of logits in one read-out of one task, of each replica: on the device, so that no pass
// waits for what another has counted.
struct Tally {
  at::Tensor loss, correct;        // [R] sums, float64 and int64
  at::Tensor counted;              // int64 [R], of the rows those that count; undefined: all
  at::Tensor bits;                 // uint8 [R, ceil(rows / 8)]; undefined: nobody asks
  std::vector<std::int64_t> rows;  // [R] that counted
};

// Examples of a task's split, shared by all read-outs of it.
struct SplitOfTask {
  std::int64_t task;
  std::vector<ExampleList> examples;  // [R] places in the data set
  std::size_t longest = 0;
  bool shared = true;         // all replicas have the same list
  std::int64_t multiple = 1;  // of the windows' length
};

const ExampleList& split_of(const Task& task, const std::string& split) {
  return split == "test" ? task.test : split == "train" ? task.train : task.validation;
}

Tally empty_tally(const Trainer& trainer, std::size_t rows, bool wants_bits) {
  const auto on_device = torch::device(trainer.device());
  const std::int64_t count = trainer.replicas();
  Tally tally{torch::zeros({count}, on_device.dtype(torch::kFloat64)),
              torch::zeros({count}, on_device.dtype(torch::kInt64)),
              {},
              {},
              std::vector<std::int64_t>(static_cast<std::size_t>(count), 0)};
  if (wants_bits) {
    tally.bits = torch::zeros({count, static_cast<std::int64_t>((rows + 7) / 8)},
                              on_device.dtype(torch::kByte));
  }
  return tally;
}

// rows: int64 [2,R], how many rows of each replica count, and how many the tally has already.
void add_scores(const ExampleScores& scores, const at::Tensor& rows, Tally& tally) {
  const at::Tensor losses = scores.loss.contiguous(), hits = scores.correct.contiguous();
  const auto* counts = rows.data_ptr<std::int64_t>();
  auto* bits = tally.bits.defined() ? tally.bits.data_ptr<std::uint8_t>() : nullptr;
  in_dtype(losses, [&](auto zero) {
    using T = decltype(zero);
    const kernels::TallyTerm<T> term{losses.data_ptr<T>(),
                                     reinterpret_cast<const std::uint8_t*>(hits.data_ptr<bool>()),
                                     counts,
                                     counts + rows.size(1),
                                     losses.size(1),
                                     losses.size(0),
                                     bits != nullptr ? tally.bits.size(1) : 0};
    auto* loss = tally.loss.data_ptr<double>();
    auto* correct = tally.correct.data_ptr<std::int64_t>();
    if (losses.is_cuda()) {
      launch_cuda<decltype(kernels::add_tally_cuda<T>)>("add_tally", term, loss, correct, bits);
    } else {
      kernels::add_tally<T>(term, loss, correct, bits);
    }
  });
}

// The same of those rows alone that `counted`, bool [R,N], says; undefined: all.
void add_counted(const ExampleScores& scores, const at::Tensor& counted, const at::Tensor& rows,
                 Tally& tally) {
  if (!counted.defined()) return add_scores(scores, rows, tally);
  add_scores({torch::where(counted, scores.loss, torch::zeros_like(scores.loss)),
              scores.correct.logical_and(counted)},
             rows, tally);
  const at::Tensor there = torch::arange(counted.size(1), rows.options()) < rows[0].unsqueeze(1);
  const at::Tensor more = counted.logical_and(there).sum(1);
  tally.counted = tally.counted.defined() ? tally.counted + more : more;
}

// Which kinds of logits a sequence is read out with: as they are, masked to the example's task,
// which alone are there where the net itself is the task's: whoever reads knows it.
std::vector<bool> logit_kinds(const TaskSequence& sequence, bool task_nets) {
  if (sequence.mask_evaluation || (task_nets && sequence.tasks.size() > 1)) return {true};
  return sequence.masked_readout ? std::vector<bool>{false, true} : std::vector<bool>{false};
}

Context context_of(const Trainer& trainer, const BudgetReadout& readout, StreamsWanted weights) {
  Context context;
  context.plans.weights.wanted = weights;
  context.plans.attention.wanted =
      readout.attention_sparse ? StreamsWanted::kSparse : StreamsWanted::kFull;
  if (readout.attention_sparse) {
    const auto blocks = static_cast<double>(trainer.run(0).config.integer("blocks"));
    context.plans.attention.blocks = blocks * readout.attention_factor;
  }
  context.rope = rope_factors(readout.scaling, static_cast<double>(readout.context_multiple));
  return context;
}

using Examples = std::vector<std::vector<std::int64_t>>;  // [R]

constexpr std::size_t kChunkShares = 8;

// How a product rounds depends on how many rows it has, and a replica's rows must not depend on how
// many the others have. A chunk that is not full is therefore as wide as its own length says, an
// eighth, a quarter, a half or the whole of a chunk, and replicas whose lengths say different
// widths pass in turn; those left out have no examples there.
std::size_t width_for(std::size_t rows, std::size_t chunk) {
  std::size_t width = std::max<std::size_t>(1, (chunk + kChunkShares - 1) / kChunkShares);
  while (width < rows) width = std::min(2 * width, chunk);
  return width;
}

std::vector<std::int64_t> part_of_task(const SplitOfTask& split, std::size_t r, std::size_t begin,
                                       std::size_t end) {
  std::vector<std::int64_t> part;
  part.reserve(end - begin);
  const std::vector<std::int64_t>& places = split.examples[r].places();
  for (std::size_t i = begin; i < end; ++i) part.push_back(example_of(places[i], split.task));
  return part;
}

// Some examples that pass together, and how many of them are each replica's.
struct Chunk {
  Batch batch;
  std::vector<std::int64_t> counts;  // [R]
};

std::vector<Chunk> chunks_by_width(const Trainer& trainer, const SplitOfTask& split,
                                   std::size_t begin, std::size_t chunk) {
  const std::vector<ExampleList>& all = split.examples;
  std::vector<Chunk> chunks;
  if (split.shared) {
    const std::size_t end = std::min(split.longest, begin + chunk);
    const auto count = static_cast<std::int64_t>(end - begin);
    chunks.push_back(
        {trainer.batches().make_for_all(part_of_task(split, 0, begin, end),
                                        static_cast<std::int64_t>(width_for(end - begin, chunk)),
                                        OutputsOf::kTask, split.multiple),
         std::vector<std::int64_t>(all.size(), count)});
    return chunks;
  }
  std::map<std::size_t, Examples> parts;
  for (std::size_t r = 0; r < all.size(); ++r) {
    const std::size_t end = std::min(all[r].size(), begin + chunk);
    if (begin >= end) continue;
    Examples& part =
        parts.emplace(width_for(end - begin, chunk), Examples(all.size())).first->second;
    part[r] = part_of_task(split, r, begin, end);
  }
  for (const auto& [width, part] : parts) {
    chunks.push_back({trainer.batches().make(part, static_cast<std::int64_t>(width),
                                             OutputsOf::kTask, split.multiple),
                      {}});
    for (const auto& own : part) {
      chunks.back().counts.push_back(static_cast<std::int64_t>(own.size()));
    }
  }
  return chunks;
}

// Of rows [R,B T] those of each sequence's last T - T / multiple tokens.
at::Tensor beyond_trained(const at::Tensor& rows, std::int64_t tokens, std::int64_t multiple) {
  if (!rows.defined()) return rows;
  return rows.view({rows.size(0), -1, tokens})
      .slice(2, tokens / multiple)
      .reshape({rows.size(0), -1});
}

// Of packed documents the rows that count and lie beyond the trained length in their document, bool
// [R,B T]; undefined where documents are not told apart.
at::Tensor counted_beyond(const Batch& batch, std::int64_t trained) {
  if (!batch.counted.defined()) return {};
  const at::Tensor starts = document_starts(batch.x);
  const at::Tensor place = torch::arange(starts.size(2), starts.options()) - starts;
  return batch.counted.logical_and(place.ge(trained).view(batch.counted.sizes()));
}

// How many of a kind's rows count, of each replica.
at::Tensor counted_rows(const Trainer& trainer, const std::vector<std::int64_t>& counts,
                        std::int64_t per_example, Tally& tally) {
  at::Tensor rows = torch::empty({2, trainer.replicas()}, torch::kInt64);
  auto* row = rows.data_ptr<std::int64_t>();
  for (std::size_t r = 0; r < counts.size(); ++r) {
    row[r] = counts[r] * per_example;
    row[counts.size() + r] = tally.rows[r];
    tally.rows[r] += row[r];
  }
  return uploaded(rows, trainer.device());
}

// One read-out over one task, in chunks: a tally for each kind of logits and, behind these, where
// windows are longer than in training, one for each kind of the targets beyond the trained length.
std::vector<Tally> run_readout(Trainer& trainer, const SplitOfTask& split, const Context& context,
                               const NearestMean* means, const std::vector<bool>& masked,
                               bool wants_bits) {
  const bool sequences = trainer.data().sequences();
  const auto most =
      static_cast<std::size_t>(sequences ? window_chunk(split.multiple) : kImageChunk);
  const bool longer = split.multiple > 1;
  std::vector<Tally> tallies;
  for (std::size_t kind = 0; kind < masked.size() * (longer ? 2 : 1); ++kind) {
    tallies.push_back(empty_tally(trainer, split.longest, wants_bits && !sequences));
  }
  for (std::size_t begin = 0; begin < split.longest; begin += most) {
    for (const auto& [batch, counts] : chunks_by_width(trainer, split, begin, most)) {
      Context pass = context;
      at::Tensor logits = means != nullptr ? means->scores(trainer, batch.x, context)
                                           : trainer.model().forward(batch.x, pass);
      logits = asked_rows(logits.reshape({trainer.replicas(), -1, logits.size(-1)}), batch.asked);
      const at::Tensor target = asked_rows(batch.target, batch.asked);
      const std::int64_t per_example = target.size(1) / batch.x.size(1);
      for (std::size_t kind = 0; kind < masked.size(); ++kind) {
        const ExampleScores scores =
            score_examples(logits, target, masked[kind] ? batch.allowed : at::Tensor());
        Tally& whole = tallies[kind];
        add_counted(scores, batch.counted, counted_rows(trainer, counts, per_example, whole),
                    whole);
        if (!longer) continue;
        Tally& beyond = tallies[masked.size() + kind];
        const std::int64_t rows = per_example - per_example / split.multiple;
        const auto last = [&, per_example = per_example](const at::Tensor& x) {
          return beyond_trained(x, per_example, split.multiple);
        };
        add_counted({last(scores.loss), last(scores.correct)},
                    last(counted_beyond(batch, per_example / split.multiple)),
                    counted_rows(trainer, counts, rows, beyond), beyond);
      }
    }
  }
  return tallies;
}

std::string net_name(StrategyNeeds::Read read) {
  using Read = StrategyNeeds::Read;
  switch (read) {
    case Read::kAsItIs:
      return "";
    case Read::kTask:
      return "task";
    case Read::kAverage:
      return "average";
    case Read::kNearestMean:
      return "nearest_mean";
  }
  return "";
}

constexpr const char* kBeyondTrained = "position=beyond";

// What a read-out of one task counted, and of which replicas it is one.
struct Counted {
  BudgetReadout readout;
  std::vector<char> of;  // [R]
  const SplitOfTask* split;
  bool masked;
  bool beyond;  // targets beyond the trained length alone
  Tally tally;
};

EvalRow row_of(const Trainer& trainer, std::int64_t r, const Evaluation& evaluation,
               const Counted& counted) {
  const BudgetReadout& readout = counted.readout;
  const Config& config = trainer.run(r).config;
  EvalRow row;
  row.stage = evaluation.stage;
  row.step = trainer.steps_of(r);
  row.task = counted.split->task;
  const bool has_attention = trainer.model().sites(Level::kAttention) > 0;
  if (has_attention) row.readout.attention.stream = "full";
  if (has_attention && readout.attention_sparse) {
    const auto blocks = static_cast<double>(config.integer("blocks"));
    row.readout.attention = {"sparse", blocks * readout.attention_factor, "blocks"};
  }
  if (readout.weights_sparse) {
    row.readout.weights = {"sparse", config.real("density") * readout.weights_factor, "density"};
  }
  row.readout.masked = counted.masked;
  row.readout.net = net_name(trainer.read());
  if (readout.context_multiple > 1) {
    row.readout.context = readout.context_multiple * config.integer("context");
    if (readout.scaling != "none") row.readout.scaling = readout.scaling;
    if (counted.beyond) row.readout.condition = kBeyondTrained;
  }
  row.split = evaluation.split;
  return row;
}

// Rows of the replicas that it is of. What has no examples was not measured, whoever else is in the
// group.
void add_rows(const Trainer& trainer, const Evaluation& evaluation, const Counted& counted,
              std::vector<std::vector<EvalRow>>& rows) {
  const auto host = [](const at::Tensor& values) {
    return values.defined() ? values.to(torch::kCPU) : values;
  };
  const Tally tally{host(counted.tally.loss), host(counted.tally.correct),
                    host(counted.tally.counted), host(counted.tally.bits), counted.tally.rows};
  const auto* losses = tally.loss.const_data_ptr<double>();
  const auto* correct = tally.correct.const_data_ptr<std::int64_t>();
  for (std::size_t r = 0; r < rows.size(); ++r) {
    const std::size_t examples = counted.split->examples[r].size();
    if (!counted.of[r] || examples == 0) continue;
    EvalRow row = row_of(trainer, static_cast<std::int64_t>(r), evaluation, counted);
    row.n_correct = correct[r];
    row.n_total =
        tally.counted.defined() ? tally.counted.const_data_ptr<std::int64_t>()[r] : tally.rows[r];
    if (row.n_total == 0) continue;
    row.loss = losses[r] / static_cast<double>(row.n_total);
    if (tally.bits.defined()) {
      const auto* own = tally.bits.const_data_ptr<std::uint8_t>() +
                        static_cast<std::int64_t>(r) * tally.bits.size(1);
      row.example_bits.assign(reinterpret_cast<const char*>(own), (examples + 7) / 8);
    }
    rows[r].push_back(std::move(row));
  }
}

std::vector<SplitOfTask> splits(const Trainer& trainer, const std::string& split,
                                std::int64_t multiple) {
  std::vector<SplitOfTask> all;
  for (std::size_t t = 0; t < trainer.tasks(0).tasks.size(); ++t) {
    SplitOfTask one{static_cast<std::int64_t>(t) + 1, {}, 0, true, multiple};
    for (std::int64_t r = 0; r < trainer.replicas(); ++r) {
      const Task& task = trainer.tasks(r).tasks[t];
      if (multiple == 1) {
        one.examples.push_back(split_of(task, split));
      } else {
        one.examples.emplace_back(longer_windows(trainer.run(r).config, trainer.data(),
                                                 task.train.places(), split, multiple));
        one.examples.back().share_if_equal(one.examples.front());
      }
      one.longest = std::max(one.longest, one.examples.back().size());
      one.shared = one.shared && one.examples.back().is_same(one.examples.front());
    }
    all.push_back(std::move(one));
  }
  return all;
}

// The lengths of windows that are read, as multiples of the trained one.
std::vector<std::int64_t> multiples_of(const Trainer& trainer, const Evaluation& evaluation) {
  std::vector<std::int64_t> all = {1};
  if (!evaluation.longer || !trainer.data().windows()) return all;
  const auto longer = context_multiples(trainer.run(0).config);
  all.insert(all.end(), longer.begin(), longer.end());
  return all;
}

// Whether every layer keeps a connection at this density.
bool can_spread(const Trainer& trainer, const RunSchedule& run, double density) {
  try {
    spread_budget(trainer.layers(), density, run.policies.weights.start.budget);
  } catch (const ConfigError&) {
    return false;
  }
  return true;
}

double density_at(const RunSchedule& run, const BudgetReadout& readout) {
  return std::min(1.0, run.config.real("density") * readout.weights_factor);
}

// The read-outs of any replica that is wanted, and of which replicas each is one: what a budget
// leaves or covers depends on a replica's own density.
struct SharedReadout {
  BudgetReadout readout;
  std::vector<char> of;  // [R]
};

std::vector<SharedReadout> shared_readouts(const Trainer& trainer, const Evaluation& evaluation) {
  const bool has_attention = trainer.model().sites(Level::kAttention) > 0;
  std::vector<SharedReadout> shared;
  for (std::int64_t r = 0; r < trainer.replicas(); ++r) {
    const auto i = static_cast<std::size_t>(r);
    if (!evaluation.wanted[i]) continue;
    const RunSchedule& run = trainer.run(r);
    // A task's own net has no other budgets, and is the sparse net where the method has no mask.
    const bool task_nets = trainer.read() == StrategyNeeds::Read::kTask;
    for (const BudgetReadout& own :
         readouts_of(run, has_attention, evaluation.curve && !task_nets)) {
      if (task_nets && own.weights_sparse && !has_mask({run.config, run.policies})) continue;
      if (own.weights_sparse && !can_spread(trainer, run, density_at(run, own))) continue;
      auto found = std::find_if(shared.begin(), shared.end(),
                                [&](const SharedReadout& each) { return each.readout == own; });
      if (found == shared.end()) {
        shared.push_back({own, std::vector<char>(evaluation.wanted.size(), 0)});
        found = shared.end() - 1;
      }
      found->of[i] = 1;
    }
  }
  return shared;
}

}  // namespace

std::vector<std::vector<EvalRow>> evaluate(Trainer& trainer, const Evaluation& evaluation) {
  at::NoGradGuard no_grad;
  const auto runs = probe_runs(trainer);
  const std::vector<std::int64_t> multiples = multiples_of(trainer, evaluation);
  std::vector<std::vector<SplitOfTask>> tasks;  // of each length of windows
  for (const std::int64_t multiple : multiples) {
    tasks.push_back(splits(trainer, evaluation.split, multiple));
  }
  const bool task_nets = trainer.read() == StrategyNeeds::Read::kTask;
  std::optional<Trainer::ReadNet> net;
  if (trainer.read() == StrategyNeeds::Read::kAverage) net.emplace(trainer, 0);
  std::vector<Counted> all;
  const RankingBatch batch =
      ranks_on_batch(runs) ? ranking_batch(probe_batch(trainer)) : RankingBatch{};
  const auto read = [&](const SharedReadout& shared, const std::vector<SplitOfTask>& of_tasks,
                        StreamsWanted weights) {
    const Context context = context_of(trainer, shared.readout, weights);
    std::optional<NearestMean> means;
    if (trainer.read() == StrategyNeeds::Read::kNearestMean) means.emplace(trainer, context);
    for (const SplitOfTask& split : of_tasks) {
      const bool asked = evaluation.last_task == 0 || split.task <= evaluation.last_task;
      if (split.longest == 0 || !asked) continue;
      const std::vector<bool> masked = logit_kinds(trainer.tasks(0), task_nets);
      if (task_nets) net.emplace(trainer, split.task);
      const auto tallies =
          run_readout(trainer, split, context, means ? &*means : nullptr, masked, evaluation.curve);
      if (task_nets) net.reset();
      for (std::size_t i = 0; i < tallies.size(); ++i) {
        const std::size_t kind = i % masked.size();
        all.push_back(
            {shared.readout, shared.of, &split, masked[kind], i >= masked.size(), tallies[i]});
      }
    }
  };
  for (const SharedReadout& shared : shared_readouts(trainer, evaluation)) {
    std::unique_ptr<SparseReadout> guard;
    if (shared.readout.weights_sparse) {
      std::vector<double> density;
      for (std::size_t r = 0; r < shared.of.size(); ++r) {
        const RunSchedule& run = trainer.run(static_cast<std::int64_t>(r));
        density.push_back(shared.of[r] ? density_at(run, shared.readout)
                                       : run.config.real("density"));
      }
      guard = std::make_unique<SparseReadout>(trainer.model(), runs, density, batch);
    }
    const StreamsWanted weights = guard ? guard->wanted() : StreamsWanted::kFull;
    for (std::size_t i = 0; i < multiples.size(); ++i) {
      SharedReadout longer = shared;
      longer.readout.context_multiple = multiples[i];
      const bool scaled = multiples[i] > 1;
      for (const std::string& scaling :
           scaled ? read_scalings(trainer.run(0).config) : std::vector<std::string>{"none"}) {
        longer.readout.scaling = scaling;
        read(longer, tasks[i], weights);
      }
    }
  }
  // What waits for the device comes last.
  std::vector<std::vector<EvalRow>> rows(static_cast<std::size_t>(trainer.replicas()));
  for (const Counted& counted : all) add_rows(trainer, evaluation, counted, rows);
  return rows;
}

std::map<std::string, NearestMean> means_of_readouts(Trainer& trainer) {
  at::NoGradGuard no_grad;
  std::map<std::string, NearestMean> means;
  if (trainer.read() != StrategyNeeds::Read::kNearestMean) return means;
  const auto runs = probe_runs(trainer);
  const RankingBatch batch =
      ranks_on_batch(runs) ? ranking_batch(probe_batch(trainer)) : RankingBatch{};
  for (const bool sparse : {false, true}) {
    if (!sparse && !carries_full(trainer.policies())) continue;
    std::unique_ptr<SparseReadout> guard;
    if (sparse) {
      guard = std::make_unique<SparseReadout>(trainer.model(), runs, trained_density(runs), batch);
    }
    const Context context = context_of(trainer, {}, guard ? guard->wanted() : StreamsWanted::kFull);
    means.emplace(sparse ? "sparse" : "full", NearestMean(trainer, context));
  }
  return means;
}

}  // namespace tandem
