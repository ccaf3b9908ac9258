// IDX files are read through zlib, which reads plain files as they are.
#include "data/idx.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <zlib.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <limits>
#include <memory>

#include "core/error.h"

namespace tandem {
namespace {

constexpr std::uint8_t kUnsignedByte = 8;
constexpr std::size_t kChunkBytes = 1u << 20;
constexpr std::size_t kReserveBytes = 1u << 28;  // of addresses, not of memory

class Source {
 public:
  Source(const std::string& path, const std::string& remedy) : path_(path), remedy_(remedy) {
    errno = 0;
    file_.reset(gzopen(path.c_str(), "rb"));
    if (file_ == nullptr) refuse("a readable IDX file", errno ? std::strerror(errno) : "no memory");
    gzbuffer(file_.get(), kChunkBytes / 4);
  }

  [[noreturn]] void refuse(const std::string& expected, const std::string& found) const {
    throw DataError(fmt::format("{}: expected {}, found {}. {}", path_, expected, found, remedy_));
  }

  // Returns the number of bytes read, which is less than asked for only at a clean end of the data.
  std::size_t read(void* to, std::size_t size_bytes) {
    const int got = gzread(file_.get(), to, static_cast<unsigned>(size_bytes));
    int code = Z_OK;
    const char* text = gzerror(file_.get(), &code);
    if (code == Z_BUF_ERROR) refuse("a whole gzip stream", "one that is cut short");
    if (got < 0 || code != Z_OK) {
      refuse("undamaged data", code == Z_ERRNO ? std::strerror(errno) : text);
    }
    return static_cast<std::size_t>(got);
  }

 private:
  struct Close {
    void operator()(gzFile file) const { gzclose_r(file); }
  };
  std::string path_, remedy_;
  std::unique_ptr<gzFile_s, Close> file_;
};

std::vector<std::int64_t> read_header(Source& source, int rank) {
  std::vector<std::uint8_t> bytes(4 + 4 * static_cast<std::size_t>(rank));
  const std::size_t got = source.read(bytes.data(), bytes.size());
  if (got >= 4) {
    const std::uint8_t magic[4] = {0, 0, kUnsignedByte, static_cast<std::uint8_t>(rank)};
    if (!std::equal(magic, magic + 2, bytes.begin())) {
      source.refuse(
          fmt::format("the magic number 0x0000{:02x}{:02x}", kUnsignedByte, rank),
          fmt::format("0x{:02x}{:02x}{:02x}{:02x}", bytes[0], bytes[1], bytes[2], bytes[3]));
    }
    if (bytes[2] != kUnsignedByte) {
      source.refuse("elements of type 0x08 (unsigned bytes)", fmt::format("0x{:02x}", bytes[2]));
    }
    if (bytes[3] != rank) {
      source.refuse(fmt::format("{} dimensions", rank), std::to_string(bytes[3]));
    }
  }
  if (got != bytes.size()) {
    source.refuse(fmt::format("a header of {} bytes", bytes.size()),
                  fmt::format("a file of {} bytes", got));
  }
  std::vector<std::int64_t> dims;
  for (std::size_t at = 4; at < bytes.size(); at += 4) {
    dims.push_back(std::int64_t{bytes[at]} << 24 | std::int64_t{bytes[at + 1]} << 16 |
                   std::int64_t{bytes[at + 2]} << 8 | std::int64_t{bytes[at + 3]});
  }
  return dims;
}

std::size_t promised_bytes(const Source& source, const std::vector<std::int64_t>& dims) {
  std::int64_t size = 1;
  for (const std::int64_t each : dims) {
    if (each < 1)
      source.refuse("dimensions of at least 1", fmt::format("{}", fmt::join(dims, "x")));
    if (__builtin_mul_overflow(size, each, &size)) {
      source.refuse("dimensions whose product fits in 64 bits",
                    fmt::format("{}", fmt::join(dims, "x")));
    }
  }
  return static_cast<std::size_t>(size);
}

}  // namespace

IdxArray read_idx(const std::string& path, int rank, const std::string& remedy) {
  Source source(path, remedy);
  IdxArray array;
  array.dims = read_header(source, rank);
  const std::size_t promised = promised_bytes(source, array.dims);
  // Memory grows with what is really there, so that a lying header can't ask for all of it; a set
  // of usual size grows where it is.
  array.values.reserve(std::min(promised, kReserveBytes));
  while (array.values.size() < promised) {
    const std::size_t before = array.values.size();
    const std::size_t wanted = std::min(kChunkBytes, promised - before);
    array.values.resize(before + wanted);
    const std::size_t got = source.read(array.values.data() + before, wanted);
    if (got < wanted) {
      source.refuse(fmt::format("{} values ({})", promised, fmt::join(array.dims, "x")),
                    std::to_string(before + got));
    }
  }
  std::uint8_t beyond = 0;
  if (source.read(&beyond, 1) != 0) {
    source.refuse(fmt::format("{} values ({})", promised, fmt::join(array.dims, "x")),
                  "more bytes after them");
  }
  return array;
}

Pictures read_labelled_images(const std::string& images_path, const std::string& labels_path,
                              std::int64_t classes, const std::string& remedy,
                              std::int64_t first_label) {
  IdxArray images = read_idx(images_path, 3, remedy);
  const IdxArray labels = read_idx(labels_path, 1, remedy);
  if (labels.dims[0] != images.dims[0]) {
    throw DataError(fmt::format("{}: expected {} labels, one for each image of {}, found {}. {}",
                                labels_path, images.dims[0], images_path, labels.dims[0], remedy));
  }
  Pictures pictures{images.dims[0],           1, images.dims[1], images.dims[2],
                    std::move(images.values), {}};
  pictures.labels.reserve(labels.values.size());
  for (const std::uint8_t stored : labels.values) {
    const std::int64_t label = stored - first_label;
    if (label < 0 || label >= classes) {
      throw DataError(fmt::format("{}: expected labels {}..{}, found {} at position {}. {}",
                                  labels_path, first_label, first_label + classes - 1, stored,
                                  pictures.labels.size(), remedy));
    }
    pictures.labels.push_back(label);
  }
  return pictures;
}

int idx_rank(const std::string& path) {
  const std::unique_ptr<gzFile_s, int (*)(gzFile)> file(gzopen(path.c_str(), "rb"), gzclose_r);
  std::uint8_t magic[4] = {};
  if (file == nullptr || gzread(file.get(), magic, 4) != 4) return 0;
  return magic[0] == 0 && magic[1] == 0 && magic[2] == kUnsignedByte ? magic[3] : 0;
}

std::vector<std::uint8_t> read_plain_or_gzipped(const std::string& path,
                                                const std::string& remedy) {
  Source source(path, remedy);
  std::vector<std::uint8_t> bytes;
  for (std::size_t got = kChunkBytes; got == kChunkBytes;) {
    const std::size_t before = bytes.size();
    bytes.resize(before + kChunkBytes);
    got = source.read(bytes.data() + before, kChunkBytes);
    bytes.resize(before + got);
  }
  return bytes;
}

std::string find_idx(const std::string& folder, const std::string& name) {
  std::string dotted = name;
  if (const auto at = dotted.find("-idx"); at != std::string::npos) dotted[at] = '.';
  for (const std::string& candidate : {name + ".gz", name, dotted + ".gz", dotted}) {
    const std::filesystem::path path = std::filesystem::path(folder) / candidate;
    std::error_code ignored;
    if (std::filesystem::is_regular_file(path, ignored)) return path.string();
  }
  return "";
}

}  // namespace tandem
