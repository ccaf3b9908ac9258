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
  return selector;
}

std::vector<std::string> selector_options() {
  return {"attention_selector",       "attention_selector_score", "attention_forced_first",
          "attention_forced_nearest", "attention_top_p",          "attention_subblocks",
          "attention_stride"};
}

Policies alternating_attention(const Config& config) {
  Policies policies;
  policies.schedule = drawn_streams(config, "attention");
  policies.selector = selector_of(config);
  return policies;
}

}  // namespace tandem
