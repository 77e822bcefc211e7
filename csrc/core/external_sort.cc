#include "core/external_sort.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>

#include "core/errors.h"

namespace edgeasr {
namespace {

[[noreturn]] void refuse(const std::string& folder, const char* what) {
  throw InputError(std::string("a temporary file in ") + folder + " cannot be " + what + ": " + std::strerror(errno) +
                   "; name another folder in TMPDIR");
}

}  // namespace

TempFile::TempFile(const std::string& folder) : folder_(folder) {
  std::string path = folder + "/edgeasr-XXXXXX";
  descriptor_ = ::mkstemp(path.data());
  if (descriptor_ < 0) refuse(folder_, "made");
  ::unlink(path.c_str());
}

TempFile::~TempFile() { ::close(descriptor_); }

void TempFile::append(const void* data, std::size_t size) {
  const auto* bytes = static_cast<const char*>(data);
  while (size > 0) {
    const ssize_t count = ::write(descriptor_, bytes, size);
    if (count < 0) {
      if (errno == EINTR) continue;
      refuse(folder_, "written");
    }
    bytes += count;
    size -= static_cast<std::size_t>(count);
  }
}

void TempFile::read(std::uint64_t offset, void* data, std::size_t size) const {
  auto* bytes = static_cast<char*>(data);
  std::size_t done = 0;
  while (done < size) {
    const ssize_t count = ::pread(descriptor_, bytes + done, size - done, static_cast<off_t>(offset + done));
    if (count < 0) {
      if (errno == EINTR) continue;
      refuse(folder_, "read");
    }
    if (count == 0) throw InputError("a temporary file in " + folder_ + " has become shorter");
    done += static_cast<std::size_t>(count);
  }
}

}  // namespace edgeasr
