// The data dictionary: what each column of the views means.
#pragma once

#include <string>
#include <vector>

namespace tandem {

struct ColumnMeaning {
  std::string view;  // of v_run those that the other views carry as well
  std::string name;
  std::string type;  // BIGINT, DOUBLE or TEXT
  std::string text;  // with its unit; of an option its help
};

// Columns of v_run, then those that the other views add.
std::vector<ColumnMeaning> data_dictionary();

}  // namespace tandem
