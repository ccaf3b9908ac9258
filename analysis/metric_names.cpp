#include "analysis/metric_names.h"

#include <algorithm>
#include <set>

#include "config/option.h"
#include "config/part.h"
#include "core/text.h"

namespace tandem {
namespace {

constexpr char kLetters[] = "abcdefghijklmnopqrstuvwxyz0123456789_";

// Where a part of a summary, between commas, is one word, this is a name; in other parts each word
// of several pieces is, such as feature_norm.
void add_names(const std::string& summary, std::set<std::string>& names) {
  std::string text = summary;
  std::replace_if(
      text.begin(), text.end(), [](char c) { return c == ';' || c == ':'; }, ',');
  for (const std::string& part : split(text, ',')) {
    const std::vector<std::string> words = split(trim(part), ' ');
    for (const std::string& word : words) {
      const bool whole = !word.empty() && word.find_first_not_of(kLetters) == std::string::npos &&
                         word.front() != '_' && word.back() != '_';
      const bool pieces = word.find('_') != std::string::npos && find_option(word) == nullptr;
      if (whole && (words.size() == 1 || pieces)) names.insert(word);
    }
  }
}

}  // namespace

std::vector<std::string> documented_metrics() {
  std::set<std::string> names = {"train_loss",
                                 "alignment_loss",
                                 "alignment_gap",
                                 "alpha_factor",
                                 "attention_alignment_gap",
                                 "attention_alpha_factor",
                                 "model_loss",
                                 "buffer_bytes",
                                 "strategy_bytes",
                                 "data_bytes",
                                 "probe_time_share",
                                 "first_non_finite_step"};
  for (const Part& strategy : parts_of("strategy")) names.insert(strategy.name + "_loss");
  for (const Part& probe : parts_of("probe")) add_names(probe.summary, names);
  return {names.begin(), names.end()};
}

}  // namespace tandem
