#include "methods/attention_fill.h"

#include "methods/fill.h"

namespace tandem {

Policies::Selector selector_of(const Config& config) {
  Policies::Selector selector;
  selector.per_head = config.text("attention_selector") == "head";
  selector.softmax = config.text("attention_selector_score") != "dot";
  selector.force_first = config.flag("attention_forced_first");
  return selector;
}

std::vector<std::string> selector_options() {
  return {"attention_selector", "attention_selector_score", "attention_forced_first"};
}

Policies alternating_attention(const Config& config) {
  Policies policies;
  policies.schedule = drawn_streams(config, "attention");
  policies.selector = selector_of(config);
  return policies;
}

}  // namespace tandem
