// The content that a data set is known by: as published, or as this program's results had it. A run
// on it has no `data_hash` in its id.
#pragma once

#include <string>

namespace tandem {

// For static registration in a data set's file. A second hash of one data set is our own mistake:
// std::logic_error.
bool declare_known_content(const std::string& data, const std::string& hash);
std::string known_content(const std::string& data);  // 64 hex digits; "" where none is declared

// What a run's data are: what its `data_hash` says, else the known content. A corpus that is named
// by its files has none.
std::string expected_content(const std::string& data, const std::string& corpus,
                             const std::string& data_hash);

}  // namespace tandem
