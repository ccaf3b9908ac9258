// The safetensors format: 8 bytes little-endian header length, a JSON header
// {"name": {"dtype", "shape", "data_offsets": [begin, end]}, ..., "__metadata__": {text: text}},
// then the data, without gaps or overlaps.
//
// Written files have their header sorted by name and padded with spaces to 8 bytes, and their data
// in order of falling element size, then name, so that every tensor is aligned to its element size
// and equal contents give equal bytes. Read files may have it otherwise: data may then be
// unaligned.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace tandem {

class FileSink;  // core/files.h

enum class DType { kF32, kF64, kI64, kI32, kU8, kBool, kF16, kBF16 };
std::size_t size_bytes(DType dtype);
const char* dtype_name(DType dtype);  // as in the file: "F32", ..., "BOOL", "F16", "BF16"

struct TensorView {
  std::string name;
  DType dtype = DType::kF32;
  std::vector<std::int64_t> shape;
  const void* data = nullptr;  // row-major, little-endian

  std::int64_t elements() const;
  std::size_t bytes() const;
};

// Values of the metadata's entry "layout": how weights of linear layers lie. Without one it is the
// first.
constexpr char kTandemLayout[] = "[in,out]";
constexpr char kTorchLayout[] = "[out,in]";

using TensorMetadata = std::map<std::string, std::string>;

// Names must differ and sizes be 0 or more (std::invalid_argument). The file is written atomically.
std::string safetensors_bytes(const std::vector<TensorView>& tensors,
                              const TensorMetadata& metadata = {});
void write_safetensors(const std::string& path, const std::vector<TensorView>& tensors,
                       const TensorMetadata& metadata = {});
// The bytes alone, into a file that is being written.
void write_safetensors(FileSink& sink, const std::vector<TensorView>& tensors,
                       const TensorMetadata& metadata = {});

// Views of a file's tensors, valid while the object lives. Every flaw of the header is a DataError
// that names the file and the tensor.
class SafetensorsFile {
 public:
  static SafetensorsFile open(const std::string& path);  // maps the file
  static SafetensorsFile from_bytes(std::string bytes, const std::string& name);
  SafetensorsFile(SafetensorsFile&&) noexcept;
  SafetensorsFile& operator=(SafetensorsFile&&) noexcept;
  ~SafetensorsFile();

  const std::vector<TensorView>& tensors() const { return tensors_; }  // sorted by name
  const TensorView* find(const std::string& name) const;
  const TensorView& at(const std::string& name) const;  // throws DataError
  const TensorMetadata& metadata() const { return metadata_; }
  std::string_view bytes() const;  // of the whole file
  const std::string& name() const { return name_; }

 private:
  struct Storage;
  SafetensorsFile(std::unique_ptr<Storage> storage, const std::string& name);
  void parse(const unsigned char* data, std::size_t size);

  std::unique_ptr<Storage> storage_;
  std::string name_;
  std::vector<TensorView> tensors_;
  TensorMetadata metadata_;
};

}  // namespace tandem
