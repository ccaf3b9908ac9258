// A recorder collects a probe's rows, per replica. A row of one layer is named LEVEL/LAYER, one of
// the whole net LEVEL; without a level they are named LAYER and "". A value that is undefined (not
// finite) makes no row and takes no part in a mean.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "probes/probe.h"

namespace tandem {

inline const std::string kAttentionLevel = level_name(Level::kAttention),
                         kWeightsLevel = level_name(Level::kWeights);

// What the whole net's row says of the layers' values.
enum class WholeNetRow { kNone, kMean, kSum };

class Recorder {
 public:
  explicit Recorder(std::int64_t replicas)
      : rows_(static_cast<std::size_t>(replicas)), totals_(rows_.size()) {}

  void layer(std::int64_t replica, const std::string& level, const std::string& layer,
             const std::string& name, double value, WholeNetRow whole = WholeNetRow::kMean);
  void whole(std::int64_t replica, const std::string& level, const std::string& name, double value);
  Measurements finish();  // adds the rows of the whole net that stem from layers

 private:
  struct Total {
    double sum = 0;
    std::int64_t count = 0;
    WholeNetRow whole = WholeNetRow::kMean;
  };
  Measurements rows_;
  std::vector<std::map<std::pair<std::string, std::string>, Total>> totals_;  // by level and name
};

}  // namespace tandem
