// What readers of image sets share beside their formats.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "config/part.h"
#include "data/dataset.h"

namespace tandem {

// The data set of these files, read once in a process as long as they stay as they are; `how`: what
// else the result depends on. Its tensors are shared.
Dataset read_once(const std::vector<std::string>& paths, const std::string& how,
                  const std::function<Dataset()>& read);

// Notes each file with its hash.
void add_files(Dataset& dataset, const std::vector<std::string>& paths);

// The facts of an image set's registration, with the options that all of them read and `more`.
Part image_set_facts(const std::string& name, const std::string& summary, const std::string& cite,
                     const std::string& file, const std::vector<std::string>& more = {});

}  // namespace tandem
