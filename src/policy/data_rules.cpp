// Rules of options that count what a run's data may not have.
#include <fmt/format.h>

#include <algorithm>

#include "config/contexts.h"
#include "policy/rules.h"

namespace tandem {
namespace {

constexpr auto kWarnedData = Rule::Verdict::kWarned;
constexpr auto kOfData = Rule::Of::kRun;

std::int64_t count_said(const RunFacts& f, const char* option) { return f.config->integer(option); }

// Examples that a topology update draws for itself.
std::int64_t growth_examples(const RunFacts& f) {
  return count_said(f, "growth_batches") * count_said(f, "batch");
}

bool never_read_out(const RunFacts& f) {
  return f.validation_examples == 0 && !f.config->flag("final");
}

}  // namespace

std::vector<Rule> data_rules() {
  return {
      {"windows_beyond_corpus", kWarnedData, kOfData,
       [](const RunFacts& f) {
         return count_said(f, "evaluation_windows") >
                std::min(f.validation_examples, f.test_examples);
       },
       [](const RunFacts& f) {
         return fmt::format(
             "--evaluation-windows {} is more than the corpus has of --context {}: {} in "
             "validation and {} in test, which are then all read, as with 0",
             count_said(f, "evaluation_windows"), count_said(f, "context"), f.validation_examples,
             f.test_examples);
       }},
      {"longer_contexts_of_lists", Rule::Verdict::kRefused, kOfData,
       [](const RunFacts& f) {
         return f.sequences && !f.windows && !context_multiples(*f.config).empty();
       },
       [](const RunFacts& f) {
         return fmt::format(
             "--eval-contexts {} reads windows of text that are longer than --context, and the "
             "sequences of --data {} have one length: leave it out, or give --data bytes",
             f.config->text("eval_contexts"), f.config->text("data"));
       }},
      {"growth_beyond_task", kWarnedData, kOfData,
       [](const RunFacts& f) { return growth_examples(f) > f.task_examples; },
       [](const RunFacts& f) {
         return fmt::format(
             "--growth-batches {} of --batch {} are {} draws for each topology update from the {} "
             "training examples of a task: they are drawn with replacement, so that examples "
             "repeat",
             count_said(f, "growth_batches"), count_said(f, "batch"), growth_examples(f),
             f.task_examples);
       }},
      {"nothing_to_read_out", kWarnedData, kOfData, never_read_out,
       [](const RunFacts&) -> std::string {
         return "--validation 0 leaves nothing to evaluate, and the test split is read with "
                "--final alone: the run has no results; give --validation above 0, or --final";
       }},
      {"nothing_to_evaluate", kWarnedData, kOfData,
       [](const RunFacts& f) {
         return f.validation_examples == 0 && f.config->flag("final") &&
                (f.config->real("eval_every") > 0 || count_said(f, "eval_after_switch") > 0 ||
                 count_said(f, "eval_first_steps") > 0);
       },
       [](const RunFacts& f) {
         return fmt::format(
             "--eval-every {}, --eval-after-switch {} and --eval-first-steps {} evaluate on "
             "validation, of which --validation 0 leaves nothing: ends of tasks alone are "
             "evaluated, on test",
             f.config->text("eval_every"), count_said(f, "eval_after_switch"),
             count_said(f, "eval_first_steps"));
       }},
      {"nothing_to_probe", kWarnedData, kOfData,
       [](const RunFacts& f) {
         return f.validation_examples == 0 &&
                (count_said(f, "probe_every") > 0 || f.config->text("probes") != "default");
       },
       [](const RunFacts& f) {
         return fmt::format(
             "--probes {} with --probe-every {}: probes measure on validation examples, of which "
             "--validation 0 leaves none, so that nothing is measured",
             f.config->text("probes"), count_said(f, "probe_every"));
       }},
      {"task_without_validation", kWarnedData, kOfData,
       [](const RunFacts& f) {
         return f.validation_examples > 0 && f.task_validation_examples == 0;
       },
       [](const RunFacts& f) {
         return fmt::format(
             "a task has none of the {} validation examples and is not evaluated on that split; "
             "give a --validation above {}",
             f.validation_examples, f.config->text("validation"));
       }},
  };
}

}  // namespace tandem
