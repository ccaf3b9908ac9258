#include "methods/attention_fill.h"

#include "methods/fill.h"

namespace tandem {

Policies::Selector selector_of(const Config& config) {
  Policies::Selector selector;
  selector.per_head = config.text("attention_selector") == "head";
  const std::string& score = config.text("attention_selector_score");
  if (score != "none") selector.score = score;
  selector.force_first = config.flag("attention_forced_first");
  selector.nearest = config.integer("attention_forced_nearest");
  selector.top_p = config.real("attention_top_p");
  selector.subblocks = config.integer("attention_subblocks");
  selector.stride = config.integer("attention_stride");
  selector.streaming = config.text("attention_choice") == "streaming";
  selector.indexer.heads = config.integer("attention_indexer_heads");
  using Target = Policies::Selector::Indexer::Target;
  const std::string& target = config.text("attention_indexer_target");
  selector.indexer.target = target == "full"     ? Target::kFull
                            : target == "chosen" ? Target::kChosen
                                                 : Target::kStream;
  selector.indexer.pool = config.text("attention_indexer_pool");
  return selector;
}

std::vector<std::string> selector_options() {
  return {"attention_selector",       "attention_selector_score", "attention_forced_first",
          "attention_forced_nearest", "attention_top_p",          "attention_subblocks",
          "attention_stride",         "attention_choice",         "attention_indexer_heads",
          "attention_indexer_pool",   "attention_indexer_target", "attention_indexer_weight"};
}

Policies two_stream_attention(const Config& config) {
  Policies policies;
  policies.selector = selector_of(config);
  policies.entropy_penalty = config.real("attention_entropy_penalty");
  return policies;
}

std::vector<std::string> two_stream_options() {
  std::vector<std::string> names = selector_options();
  names.push_back("attention_entropy_penalty");
  return names;
}

Policies alternating_attention(const Config& config) {
  Policies policies = two_stream_attention(config);
  policies.schedule = drawn_streams(config, "attention");
  return policies;
}

std::vector<std::string> alternating_attention_options() {
  std::vector<std::string> names = two_stream_options();
  for (const std::string& name : drawn_streams_options("attention")) names.push_back(name);
  return names;
}

}  // namespace tandem
