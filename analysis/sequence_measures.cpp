#include "analysis/sequence_measures.h"

#include <algorithm>

#include "core/text.h"

namespace tandem {

const std::vector<SequenceMeasure>& sequence_measures() {
  using Unit = SequenceMeasure::Unit;
  constexpr bool kLower = true;
  static const std::vector<SequenceMeasure> measures = {
      {"acc", "v_continual", "mean accuracy over all tasks after the last (A_T)"},
      {"aia", "v_continual", "mean of A_k over stages"},
      {"f_chaudhry", "v_continual", "forgetting, best earlier accuracy less the last", Unit::kShare,
       kLower},
      {"f_incl", "v_continual", "the same with the last among the best: never negative",
       Unit::kShare, kLower},
      {"bwt_gem", "v_continual", "backward transfer against each task's own end"},
      {"learning_accuracy", "v_continual", "mean accuracy of each task at its own end"},
      {"acc_dr", "v_continual",
       "mean accuracy over all tasks and the stages from each one's own on"},
      {"f_first", "v_continual", "each task's accuracy at its own end less the last: -bwt_gem",
       Unit::kShare, kLower},
      {"bwt_gem_code", "v_continual", "bwt_gem with T in place of T - 1, as GEM's code has it"},
      {"bwt_dr", "v_continual", "mean over all later stages of what a task gained since its end"},
      {"rem", "v_continual", "1 - |min(bwt_dr, 0)|, remembering"},
      {"bwt_plus", "v_continual", "max(bwt_dr, 0)"},
      {"fwt_gem", "v_continual",
       "accuracy on each task just before it is trained, less that before any training"},
      {"fwt_gem_code", "v_continual", "fwt_gem with T in place of T - 1"},
      {"fwt_continuum", "v_continual", "accuracy on each task just before it is trained"},
      {"fwt_dr", "v_continual", "mean accuracy over tasks and the stages before each one's own"},
      {"end_nats", "v_continual", "mean loss over all tasks after the last (nats per example)",
       Unit::kNats, kLower},
      {"learning_nats", "v_continual", "mean loss of each task at its own end (nats per example)",
       Unit::kNats, kLower},
      {"f_nats", "v_continual",
       "forgetting, the last loss less the least earlier one (nats per example)", Unit::kNats,
       kLower},
      {"bwt_nats", "v_continual",
       "backward transfer, the loss at each task's own end less the last (nats per example)",
       Unit::kNats},
      {"fwt_nats", "v_continual",
       "loss on each task before any training, less that just before it is trained (nats per "
       "example)",
       Unit::kNats},
      {"end_bits_per_byte", "v_continual", "end_nats / ln 2, of data that are bytes", Unit::kBits,
       kLower},
      {"learning_bits_per_byte", "v_continual", "learning_nats / ln 2, of data that are bytes",
       Unit::kBits, kLower},
      {"f_bits_per_byte", "v_continual", "f_nats / ln 2, of data that are bytes", Unit::kBits,
       kLower},
      {"bwt_bits_per_byte", "v_continual", "bwt_nats / ln 2, of data that are bytes", Unit::kBits},
      {"fwt_bits_per_byte", "v_continual", "fwt_nats / ln 2, of data that are bytes", Unit::kBits},
      {"min_acc", "v_stability", "mean over earlier tasks of the least accuracy since its end"},
      {"wc_acc", "v_stability", "R(T, T) / T + (1 - 1 / T) min_acc, worst case accuracy"},
      {"stability_gap_100", "v_stability",
       "mean over switches of what earlier tasks lose at most in 100 steps of the next one",
       Unit::kShare, kLower},
      {"wf_10", "v_stability", "largest loss of a task within 10 evaluations, mean over tasks",
       Unit::kShare, kLower},
      {"wf_100", "v_stability", "largest loss of a task within 100 evaluations, mean over tasks",
       Unit::kShare, kLower},
      {"wp_10", "v_stability", "largest gain of a task within 10 evaluations, mean over tasks"},
      {"wp_100", "v_stability", "largest gain of a task within 100 evaluations, mean over tasks"},
      {"aaa", "v_anytime", "mean over evaluation points of the mean accuracy over the tasks seen"},
      {"a_auc", "v_anytime", "the same, each point with the steps since the one before it"},
      {"lca_10", "v_anytime",
       "mean accuracy on a task before its first ten mini-batches and after each of them"},
      {"intransigence", "v_joint",
       "mean over tasks of the joint run's accuracy less that at the task's own end", Unit::kShare,
       kLower},
      {"intransigence_cumulative", "v_joint",
       "the same against the cumulative run, which trained on the tasks up to this one alone",
       Unit::kShare, kLower},
      {"gap_to_joint", "v_joint", "the joint run's mean accuracy over all tasks less acc",
       Unit::kShare, kLower},
      {"sss", "v_storage",
       "1 - min(1, mean over tasks of the examples held after it / all training examples)"},
      {"ce", "v_storage",
       "min(1, mean over tasks of the operations of one pass over its examples / of learning it)"},
  };
  return measures;
}

std::vector<std::string> sequence_measure_names() {
  std::vector<std::string> names;
  for (const SequenceMeasure& measure : sequence_measures()) names.push_back(measure.name);
  return names;
}

std::string MatrixCell::name() const {
  return "r_" + std::to_string(stage) + "_" + std::to_string(task);
}

std::optional<MatrixCell> matrix_cell(const std::string& name) {
  const auto words = split(name, '_');
  if (words.size() != 3 || words[0] != "r") return std::nullopt;
  const auto stage = parse_integer(words[1]), task = parse_integer(words[2]);
  if (!stage || !task || *stage < 0 || *task < 1) return std::nullopt;
  return MatrixCell{*stage, *task};
}

const SequenceMeasure* find_sequence_measure(const std::string& name) {
  const auto& all = sequence_measures();
  const auto found = std::find_if(all.begin(), all.end(),
                                  [&](const auto& measure) { return measure.name == name; });
  return found == all.end() ? nullptr : &*found;
}

}  // namespace tandem
