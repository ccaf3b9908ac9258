#include "analysis/dictionary.h"

#include <map>

#include "analysis/sequence_measures.h"
#include "config/option.h"
#include "store/config_table.h"
#include "store/store.h"

namespace tandem {
namespace {

const std::vector<ColumnMeaning>& own_columns() {
  static const std::vector<ColumnMeaning> columns = {
      {"v_run", "run", "TEXT", "the run's id: SHA-256 of its resolved configuration"},
      {"v_run", "state", "TEXT", "queued, running, done, diverged, failed or stopped"},
      {"v_run", "attempt", "BIGINT", "how often the run was begun or gone on with"},
      {"v_run", "steps_done", "BIGINT", "optimizer steps that it took"},
      {"v_run", "train_seconds", "DOUBLE", "its share of its group's training time (s)"},
      {"v_run", "eval_seconds", "DOUBLE", "its share of the time of evaluations (s)"},
      {"v_run", "probe_seconds", "DOUBLE", "its share of the time of probes (s)"},
      {"v_run", "seconds", "DOUBLE", "the three together (s)"},
      {"v_run", "train_flops", "DOUBLE",
       "floating-point operations of training, from the sets in use (2 per multiply-add)"},
      {"v_run", "inference_flops", "DOUBLE", "operations of one example's sparse read-out"},
      {"v_run", "message", "TEXT", "why it diverged or failed"},
      {"v_run", "revision", "TEXT", "the program's revision"},
      {"v_run", "device", "TEXT", "where it ran"},
      {"v_run", "threads", "BIGINT", "threads of its worker"},
      {"v_run", "machine", "TEXT", "the processor"},
      {"v_run", "layer_storage", "TEXT", "storage of each linear layer, masked or sparse"},
      {"v_run", "data_sha256", "TEXT", "hashes of the data files as they lay there"},
      {"v_eval", "sequence", "BIGINT", "place among the run's rows"},
      {"v_eval", "stage", "BIGINT", "tasks finished; 0: before any training"},
      {"v_eval", "step", "BIGINT", "optimizer steps taken"},
      {"v_eval", "task", "BIGINT", "whose examples, from 1"},
      {"v_eval", "attention_readout", "TEXT",
       "stream that attention was read with; none: no attention"},
      {"v_eval", "attention_budget", "DOUBLE", "of the sparse stream; NULL: full"},
      {"v_eval", "attention_unit", "TEXT", "of that budget: blocks, top_p"},
      {"v_eval", "weights_readout", "TEXT", "stream that the weights were read with"},
      {"v_eval", "weights_budget", "DOUBLE", "of the sparse stream; NULL: full"},
      {"v_eval", "weights_unit", "TEXT", "of that budget: density"},
      {"v_eval", "masked", "BIGINT",
       "1: only outputs of the example's own task compete, or its own net is read"},
      {"v_eval", "net", "TEXT",
       "task: each task through its own net; average: through averaged weights"},
      {"v_eval", "read_context", "BIGINT", "tokens of a window, where not those of training"},
      {"v_eval", "scaling", "TEXT",
       "of rotary positions in longer windows: linear, ntk; NULL: as trained"},
      {"v_eval", "statistics", "TEXT", "of batch normalisation"},
      {"v_eval", "condition", "TEXT",
       "which examples, NAME=VALUE; position=beyond: targets beyond the trained length"},
      {"v_eval", "split", "TEXT", "train, validation or test"},
      {"v_eval", "n_correct", "BIGINT", "examples whose largest output is the right one"},
      {"v_eval", "n_total", "BIGINT", "examples"},
      {"v_eval", "loss", "DOUBLE", "mean cross-entropy (nats per example)"},
      {"v_eval", "accuracy", "DOUBLE", "n_correct / n_total (share)"},
      {"v_eval", "bits_per_byte", "DOUBLE", "loss / ln 2, of data that are bytes"},
      {"v_metric", "layer", "TEXT", "'' the whole net, a level, or LEVEL/LAYER"},
      {"v_metric", "name", "TEXT", "the measure; docs/measures.md"},
      {"v_metric", "value", "DOUBLE", "NULL where it was not a number"},
      {"v_topology", "layer", "TEXT", "the linear layer"},
      {"v_topology", "nnz", "BIGINT", "active weights after the update"},
      {"v_topology", "dropped", "BIGINT", "active before the update and not after it"},
      {"v_topology", "grown", "BIGINT", "active after the update and not before it"},
      {"v_topology", "mask_hash", "TEXT", "hash of the set of active positions"},
      {"v_digest", "tensor", "TEXT", "the parameter, as a checkpoint names it"},
      {"v_digest", "digest", "TEXT", "16 hex digits that change with any bit of its values"},
      {"v_continual", "n_tasks", "BIGINT", "tasks of the sequence (T)"},
      {"v_stability", "n_between", "BIGINT", "evaluations between the ends of tasks"},
      {"v_anytime", "n_points", "BIGINT", "evaluation points after training began"},
      {"v_joint", "n_joint", "BIGINT", "joint runs that it is compared with"},
      {"v_joint", "n_cumulative", "BIGINT", "cumulative runs that it is compared with"},
      {"v_storage", "buffer_bytes", "BIGINT",
       "inputs of the examples that the strategy holds at the end (bytes)"},
      {"v_storage", "strategy_bytes", "BIGINT", "all else that the strategy keeps (bytes)"},
      {"v_storage", "data_bytes", "BIGINT", "inputs of all tasks' training examples (bytes)"},
      {"v_tuning", "grid", "TEXT", "the grid that was tuned"},
      {"v_tuning", "method", "TEXT", "for which a choice is made"},
      {"v_tuning", "trial", "TEXT", "the axes' values"},
      {"v_tuning", "readout", "TEXT", "whose score decides"},
      {"v_tuning", "round", "BIGINT", "0 from the file's ranges, later ones extended them"},
      {"v_tuning", "score", "DOUBLE", "validation accuracy, or minus the loss"},
      {"v_tuning", "chosen", "BIGINT", "1: the choice"},
      {"v_tuning", "trials", "BIGINT", "points of the method in all rounds"},
  };
  return columns;
}

}  // namespace

std::vector<ColumnMeaning> data_dictionary() {
  std::map<std::string, const ColumnMeaning*> of_runs;
  for (const ColumnMeaning& column : own_columns()) {
    if (column.view == "v_run") of_runs[column.name] = &column;
  }
  std::vector<ColumnMeaning> all;
  for (const std::string& name : run_columns()) {
    if (const auto own = of_runs.find(name); own != of_runs.end()) {
      all.push_back(*own->second);
    } else if (const Option* option = find_option(name)) {
      std::string text = option->help;
      if (!option->unit.empty()) text += " (" + option->unit + ")";
      if (option->of_part) {
        text += "; NULL where nothing of the run reads it";
        if (!option->neutral.empty()) text += " (in v_run_1: " + option->neutral + ")";
      }
      all.push_back({"v_run", name, column_type(option->type), text});
    } else {
      all.push_back({"v_run", name, "", ""});
    }
  }
  const std::vector<ColumnMeaning>& own = own_columns();
  for (std::size_t i = 0; i < own.size(); ++i) {
    if (own[i].view != "v_run") all.push_back(own[i]);
    if (i + 1 < own.size() && own[i + 1].view == own[i].view) continue;
    for (const SequenceMeasure& measure : sequence_measures()) {
      if (measure.view == own[i].view)
        all.push_back({measure.view, measure.name, "DOUBLE", measure.text});
    }
  }
  return all;
}

}  // namespace tandem
