// Reading and writing of safetensors files.
#include "core/safetensors.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cerrno>
#include <cstring>
#include <functional>
#include <limits>
#include <nlohmann/json.hpp>
#include <set>
#include <stdexcept>

#include "core/error.h"
#include "core/files.h"
#include "core/text.h"

namespace tandem {
namespace {

static_assert(std::endian::native == std::endian::little);
constexpr std::size_t kLengthBytes = 8;
constexpr std::uint64_t kLargestHeaderBytes = 100'000'000;

struct DTypeFacts {
  DType dtype;
  const char* name;
  std::size_t bytes;
};
constexpr std::array<DTypeFacts, 8> kDTypes = {{{DType::kF32, "F32", 4},
                                                {DType::kF64, "F64", 8},
                                                {DType::kI64, "I64", 8},
                                                {DType::kI32, "I32", 4},
                                                {DType::kU8, "U8", 1},
                                                {DType::kBool, "BOOL", 1},
                                                {DType::kF16, "F16", 2},
                                                {DType::kBF16, "BF16", 2}}};

const DTypeFacts& facts_of(DType dtype) {
  for (const auto& facts : kDTypes) {
    if (facts.dtype == dtype) return facts;
  }
  throw std::invalid_argument("a dtype that the safetensors format doesn't have");
}

void check_to_write(const std::vector<TensorView>& tensors) {
  std::set<std::string> names;
  for (const auto& tensor : tensors) {
    if (tensor.name.empty() || tensor.name == "__metadata__" || !names.insert(tensor.name).second) {
      throw std::invalid_argument(
          fmt::format("tensor name '{}' is empty, reserved or given twice", tensor.name));
    }
    for (const auto size : tensor.shape) {
      if (size < 0) throw std::invalid_argument(tensor.name + " has a negative size");
    }
    if (tensor.data == nullptr && tensor.bytes() > 0) {
      throw std::invalid_argument(tensor.name + " has no data");
    }
  }
}

struct Layout {
  std::string head;  // length and header
  std::vector<const TensorView*> order;
};

Layout lay_out(const std::vector<TensorView>& tensors, const TensorMetadata& metadata) {
  check_to_write(tensors);
  Layout layout;
  for (const auto& tensor : tensors) layout.order.push_back(&tensor);
  std::sort(layout.order.begin(), layout.order.end(), [](const auto* a, const auto* b) {
    const auto a_bytes = size_bytes(a->dtype), b_bytes = size_bytes(b->dtype);
    return a_bytes != b_bytes ? a_bytes > b_bytes : a->name < b->name;
  });
  auto header = nlohmann::json::object();
  if (!metadata.empty()) header["__metadata__"] = metadata;
  std::size_t offset = 0;
  for (const auto* tensor : layout.order) {
    const std::size_t end = offset + tensor->bytes();
    header[tensor->name] = {{"dtype", dtype_name(tensor->dtype)},
                            {"shape", tensor->shape},
                            {"data_offsets", {offset, end}}};
    offset = end;
  }
  std::string text = header.dump();
  text.append((8 - text.size() % 8) % 8, ' ');
  const std::uint64_t length = text.size();
  layout.head.resize(kLengthBytes);
  std::memcpy(layout.head.data(), &length, kLengthBytes);
  layout.head += text;
  return layout;
}

// Refuses what nlohmann::json would let pass: a name that stands twice.
nlohmann::json parse_header(const std::string& text,
                            const std::function<void(const std::string&)>& refuse) {
  std::vector<std::set<std::string>> names;
  const auto watch = [&](int, nlohmann::json::parse_event_t event, nlohmann::json& value) {
    using Event = nlohmann::json::parse_event_t;
    if (event == Event::object_start) names.emplace_back();
    if (event == Event::object_end) names.pop_back();
    if (event == Event::key && !names.back().insert(value.get<std::string>()).second) {
      refuse("the name " + value.dump() + " stands twice in its header");
    }
    return true;
  };
  try {
    return nlohmann::json::parse(text, watch);
  } catch (const nlohmann::json::exception& error) {
    refuse(std::string("its header is no JSON: ") + error.what());
  }
  return {};
}

bool is_size(const nlohmann::json& value) {
  return value.is_number_unsigned() &&
         value.get<std::uint64_t>() <=
             static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max());
}

struct Entry {
  TensorView view;
  std::uint64_t begin = 0, end = 0;
};

Entry parse_entry(const std::string& name, const nlohmann::json& value, std::uint64_t data_bytes,
                  const std::function<void(const std::string&)>& refuse) {
  const auto bad = [&](const std::string& why) {
    refuse(fmt::format("tensor '{}' {}", name, why));
  };
  if (!value.is_object() || value.size() != 3 || !value.contains("dtype") ||
      !value.contains("shape") || !value.contains("data_offsets") || !value["dtype"].is_string() ||
      !value["shape"].is_array() || !value["data_offsets"].is_array() ||
      value["data_offsets"].size() != 2 || !is_size(value["data_offsets"][0]) ||
      !is_size(value["data_offsets"][1])) {
    bad("needs exactly dtype (text), shape (list) and data_offsets (two integers)");
  }
  Entry entry;
  entry.view.name = name;
  const auto dtype = value["dtype"].get<std::string>();
  const auto* facts = std::find_if(kDTypes.begin(), kDTypes.end(),
                                   [&](const auto& each) { return dtype == each.name; });
  if (facts == kDTypes.end()) {
    bad("has dtype '" + dtype + "'; F32, F64, I64, I32, U8, BOOL, F16 and BF16 are read");
  }
  entry.view.dtype = facts->dtype;
  std::uint64_t bytes = facts->bytes;
  for (const auto& size : value["shape"]) {
    if (!is_size(size)) bad("has a size that is no integer of 0 or more");
    entry.view.shape.push_back(size.get<std::int64_t>());
    if (__builtin_mul_overflow(bytes, size.get<std::uint64_t>(), &bytes)) {
      bad("has a shape whose size overflows 64 bits");
    }
  }
  entry.begin = value["data_offsets"][0].get<std::uint64_t>();
  entry.end = value["data_offsets"][1].get<std::uint64_t>();
  if (entry.begin > entry.end || entry.end > data_bytes) {
    bad(fmt::format("has data_offsets [{}, {}], but the file holds {} bytes of data", entry.begin,
                    entry.end, data_bytes));
  }
  if (entry.end - entry.begin != bytes) {
    bad(fmt::format("needs {} bytes by its shape, but its data_offsets hold {}", bytes,
                    entry.end - entry.begin));
  }
  return entry;
}

void check_cover(std::vector<Entry>& entries, std::uint64_t data_bytes,
                 const std::function<void(const std::string&)>& refuse) {
  std::sort(entries.begin(), entries.end(), [](const Entry& a, const Entry& b) {
    return a.begin != b.begin ? a.begin < b.begin : a.end < b.end;
  });
  std::uint64_t covered = 0;
  for (const auto& entry : entries) {
    if (entry.begin < covered) refuse("tensor '" + entry.view.name + "' overlaps another");
    if (entry.begin > covered) refuse("there is a gap before tensor '" + entry.view.name + "'");
    covered = entry.end;
  }
  if (covered != data_bytes) {
    refuse(fmt::format("its tensors cover {} of {} bytes of data", covered, data_bytes));
  }
}

}  // namespace

std::size_t size_bytes(DType dtype) { return facts_of(dtype).bytes; }
const char* dtype_name(DType dtype) { return facts_of(dtype).name; }

std::int64_t TensorView::elements() const {
  std::int64_t count = 1;
  for (const auto size : shape) count *= size;
  return count;
}

std::size_t TensorView::bytes() const {
  return static_cast<std::size_t>(elements()) * size_bytes(dtype);
}

std::string safetensors_bytes(const std::vector<TensorView>& tensors,
                              const TensorMetadata& metadata) {
  Layout layout = lay_out(tensors, metadata);
  std::string bytes = std::move(layout.head);
  for (const auto* tensor : layout.order) {
    bytes.append(static_cast<const char*>(tensor->data), tensor->bytes());
  }
  return bytes;
}

void write_safetensors(const std::string& path, const std::vector<TensorView>& tensors,
                       const TensorMetadata& metadata) {
  atomic_write(path, [&](FileSink& sink) { write_safetensors(sink, tensors, metadata); });
}

void write_safetensors(FileSink& sink, const std::vector<TensorView>& tensors,
                       const TensorMetadata& metadata) {
  const Layout layout = lay_out(tensors, metadata);
  sink.write(layout.head);
  for (const auto* tensor : layout.order) sink.write(tensor->data, tensor->bytes());
}

struct SafetensorsFile::Storage {
  std::string owned;
  void* mapped = nullptr;
  std::size_t mapped_bytes = 0;
  ~Storage() {
    if (mapped != nullptr) ::munmap(mapped, mapped_bytes);
  }
};

SafetensorsFile::SafetensorsFile(SafetensorsFile&&) noexcept = default;
SafetensorsFile& SafetensorsFile::operator=(SafetensorsFile&&) noexcept = default;
SafetensorsFile::~SafetensorsFile() = default;

SafetensorsFile::SafetensorsFile(std::unique_ptr<Storage> storage, const std::string& name)
    : storage_(std::move(storage)), name_(name) {
  if (storage_->mapped != nullptr) {
    parse(static_cast<const unsigned char*>(storage_->mapped), storage_->mapped_bytes);
  } else {
    parse(reinterpret_cast<const unsigned char*>(storage_->owned.data()), storage_->owned.size());
  }
}

SafetensorsFile SafetensorsFile::from_bytes(std::string bytes, const std::string& name) {
  auto storage = std::make_unique<Storage>();
  storage->owned = std::move(bytes);
  return SafetensorsFile(std::move(storage), name);
}

SafetensorsFile SafetensorsFile::open(const std::string& path) {
  const auto size = static_cast<std::size_t>(file_size(path));
  if (size == 0) return from_bytes("", path);
  auto storage = std::make_unique<Storage>();
  const int descriptor = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  void* mapped = MAP_FAILED;
  if (descriptor >= 0) mapped = ::mmap(nullptr, size, PROT_READ, MAP_PRIVATE, descriptor, 0);
  const int error = errno;
  if (descriptor >= 0) ::close(descriptor);
  if (mapped == MAP_FAILED) {
    throw DataError(fmt::format("cannot read {}: {}; a readable safetensors file was expected",
                                path, std::strerror(error)));
  }
  storage->mapped = mapped;
  storage->mapped_bytes = size;
  return SafetensorsFile(std::move(storage), path);
}

std::string_view SafetensorsFile::bytes() const {
  if (storage_->mapped == nullptr) return storage_->owned;
  return {static_cast<const char*>(storage_->mapped), storage_->mapped_bytes};
}

void SafetensorsFile::parse(const unsigned char* data, std::size_t size) {
  const std::function<void(const std::string&)> refuse = [&](const std::string& why) {
    throw DataError(fmt::format(
        "{} is no valid safetensors file: {}; it may be cut off or changed, write it anew", name_,
        why));
  };
  std::uint64_t length = 0;
  if (size < kLengthBytes) refuse(fmt::format("it has {} bytes, fewer than 8", size));
  std::memcpy(&length, data, kLengthBytes);
  if (length > kLargestHeaderBytes || length > size - kLengthBytes) {
    refuse(fmt::format("its header length {} exceeds the file's {} bytes or 100 MB", length, size));
  }
  const std::string text(reinterpret_cast<const char*>(data) + kLengthBytes, length);
  if (text.empty() || text[0] != '{') refuse("its header doesn't begin with '{'");
  const auto header = parse_header(text, refuse);
  const std::uint64_t data_bytes = size - kLengthBytes - length;
  std::vector<Entry> entries;
  for (const auto& [name, value] : header.items()) {
    if (name != "__metadata__") {
      entries.push_back(parse_entry(name, value, data_bytes, refuse));
      continue;
    }
    if (!value.is_object()) refuse("__metadata__ is no object");
    for (const auto& [key, item] : value.items()) {
      if (!item.is_string()) refuse("__metadata__ holds something that is no text: " + key);
      metadata_[key] = item.get<std::string>();
    }
  }
  check_cover(entries, data_bytes, refuse);
  for (auto& entry : entries) {
    entry.view.data = data + kLengthBytes + length + entry.begin;
    tensors_.push_back(std::move(entry.view));
  }
  std::sort(tensors_.begin(), tensors_.end(),
            [](const TensorView& a, const TensorView& b) { return a.name < b.name; });
}

const TensorView* SafetensorsFile::find(const std::string& name) const {
  const auto found = std::lower_bound(
      tensors_.begin(), tensors_.end(), name,
      [](const TensorView& tensor, const auto& text) { return tensor.name < text; });
  return found != tensors_.end() && found->name == name ? &*found : nullptr;
}

const TensorView& SafetensorsFile::at(const std::string& name) const {
  if (const auto* found = find(name)) return *found;
  std::vector<std::string> names;
  for (const auto& tensor : tensors_) names.push_back(tensor.name);
  throw DataError(name_ + ": " + did_you_mean("tensor", name, names));
}

}  // namespace tandem
