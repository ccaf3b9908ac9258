// What files say of things by name, beside the registration of the thing: filled before main()
// begins, read by rooms that don't see the thing itself.
#pragma once

#include <map>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

namespace tandem {

template <class Value>
class Declared {
 public:
  // A name that is taken is our own mistake: std::logic_error that says `what` and the name.
  bool add(const std::string& name, Value value, const char* what) {
    if (values_.emplace(name, std::move(value)).second) return true;
    throw std::logic_error(std::string(what) + " '" + name + "' is declared twice");
  }
  // Null where nothing is declared.
  const Value* find(const std::string& name) const {
    const auto found = values_.find(name);
    return found == values_.end() ? nullptr : &found->second;
  }
  // A name without is our own mistake as well: std::logic_error that also says `where` it belongs.
  const Value& at(const std::string& name, const char* what, const char* where) const {
    if (const Value* found = find(name)) return *found;
    throw std::logic_error(std::string(what) + " '" + name + "' is not declared: " + where);
  }

  std::vector<std::string> names() const {  // sorted
    std::vector<std::string> all;
    for (const auto& [name, value] : values_) all.push_back(name);
    return all;
  }

 private:
  std::map<std::string, Value> values_;
};

}  // namespace tandem
