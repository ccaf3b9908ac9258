#include "probes/support_memory.h"

#include <algorithm>

namespace tandem {

void SupportMemory::change(const ActiveSet& support, std::int64_t step) {
  const std::vector<std::int64_t> leave = now_.without(support).positions();
  const std::vector<std::int64_t> enter = support.without(now_).positions();
  std::vector<std::int64_t> places, left;
  places.reserve(places_.size() + leave.size());
  left.reserve(places.capacity());
  std::size_t entered = 0, leaving = 0;
  const auto take_leaving_below = [&](std::int64_t end) {
    for (; leaving < leave.size() && leave[leaving] < end; ++leaving) {
      places.push_back(leave[leaving]);
      left.push_back(step);
    }
  };
  for (std::size_t i = 0; i < places_.size(); ++i) {
    take_leaving_below(places_[i]);
    while (entered < enter.size() && enter[entered] < places_[i]) ++entered;
    if (entered < enter.size() && enter[entered] == places_[i]) continue;
    places.push_back(places_[i]);
    left.push_back(left_[i]);
  }
  take_leaving_below(leave.empty() ? 0 : leave.back() + 1);
  places_ = std::move(places);
  left_ = std::move(left);
  now_ = support;
}

SupportMemory::Ages SupportMemory::ages(std::int64_t positions, std::int64_t step,
                                        std::int64_t last_dense) const {
  Ages found;
  for (const std::int64_t own : left_) found.steps.push_back(step - std::max(own, last_dense));
  const std::int64_t others = positions - now_.count() - static_cast<std::int64_t>(places_.size());
  if (last_dense > 0) {
    found.steps.insert(found.steps.end(), static_cast<std::size_t>(others), step - last_dense);
  } else {
    found.never = others;
  }
  return found;
}

NamedLists SupportMemory::save() const {
  return {{"now", now_.save()}, {"places", places_}, {"left", left_}};
}

void SupportMemory::load(const std::string& what, const std::vector<std::int64_t>& values) {
  if (what == "now") now_ = ActiveSet::load(values);
  if (what == "places") places_ = values;
  if (what == "left") left_ = values;
}

}  // namespace tandem
