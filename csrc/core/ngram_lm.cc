#include "core/ngram_lm.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "core/arpa.h"
#include "core/errors.h"
#include "core/ngram_table.h"

namespace edgeasr {
namespace {

[[noreturn]] void refuse(const std::string& path, int error) {
  throw LanguageModelError(path + ": the language model cannot be read: " + std::strerror(error));
}

class File {
 public:
  explicit File(const std::string& path) : path_(path), descriptor_(::open(path.c_str(), O_RDONLY | O_CLOEXEC)) {
    if (descriptor_ < 0) refuse(path, errno);
  }
  File(const File&) = delete;
  File& operator=(const File&) = delete;
  ~File() { ::close(descriptor_); }

  std::size_t size() const {
    struct stat status {};
    if (::fstat(descriptor_, &status) != 0) refuse(path_, errno);
    if (!S_ISREG(status.st_mode)) throw LanguageModelError(path_ + ": this is no file");
    return static_cast<std::size_t>(status.st_size);
  }

  std::size_t read(std::uint8_t* data, std::size_t size) const {
    while (true) {
      const ssize_t count = ::read(descriptor_, data, size);
      if (count >= 0) return static_cast<std::size_t>(count);
      if (errno != EINTR) refuse(path_, errno);
    }
  }

  std::shared_ptr<const void> map(std::size_t size) const {
    void* memory = ::mmap(nullptr, size, PROT_READ, MAP_SHARED, descriptor_, 0);
    if (memory == MAP_FAILED) refuse(path_, errno);
    return {memory, [size](void* mapped) { ::munmap(mapped, size); }};
  }

 private:
  std::string path_;
  int descriptor_;
};

}  // namespace

std::shared_ptr<const NgramLm> NgramLm::open(const std::string& path) {
  const File file(path);
  const std::size_t size = file.size();
  std::array<std::uint8_t, 1U << 16U> block{};
  std::size_t count = file.read(block.data(), block.size());
  if (!is_image(block.data(), count)) {
    ArpaReader reader(path);
    while (count > 0) {
      reader.accept(reinterpret_cast<const char*>(block.data()), count);
      count = file.read(block.data(), block.size());
    }
    return from_image(write_image(reader.finish(), {}), path);
  }
  std::shared_ptr<NgramLm> model(new NgramLm);
  model->name_ = path;
  model->memory_ = file.map(size);
  model->view_ = view_image(static_cast<const std::uint8_t*>(model->memory_.get()), size, path);
  if (model->view_.begin_word != kUnknown) model->score(State{}, model->view_.begin_word, &model->begin_state_);
  return model;
}

std::shared_ptr<const NgramLm> NgramLm::from_image(std::vector<std::uint64_t> image, const std::string& name) {
  const auto memory = std::make_shared<const std::vector<std::uint64_t>>(std::move(image));
  std::shared_ptr<NgramLm> model(new NgramLm);
  model->name_ = name;
  model->memory_ = memory;
  model->view_ = view_image(reinterpret_cast<const std::uint8_t*>(memory->data()), memory->size() * 8, name);
  if (model->view_.begin_word != kUnknown) model->score(State{}, model->view_.begin_word, &model->begin_state_);
  return model;
}

std::string_view NgramLm::word(WordId id) const {
  if (id >= view_.vocab_size) {
    throw InputError("word id " + std::to_string(id) + " is outside of the vocabulary of " +
                     std::to_string(view_.vocab_size) + " words");
  }
  return view_.word(id);
}

double NgramLm::score(const State& state, WordId word, State* next) const {
  if (word >= view_.vocab_size) word = kUnknown;
  const auto highest = static_cast<std::size_t>(view_.order) - 1;
  std::uint64_t place = word;
  std::uint64_t entry = view_.entry(0, place);
  float score = view_.score(0, entry);
  std::size_t known = 0;  // words of the context in the longest n-gram that the model has
  State after;
  const auto remember = [&](std::size_t level, WordId at_level) {
    after.words[level] = at_level;
    const float backoff = view_.backoff(level, entry);
    after.backoffs[level] = backoff;
    if (is_context(backoff)) after.length = static_cast<std::uint8_t>(level + 1);
  };
  if (highest > 0 && next != nullptr) remember(0, word);
  for (; known < state.length && known < highest; ++known) {
    const WordId before = state.words[known];
    const std::size_t level = known + 1;
    const std::uint64_t found = view_.levels[level].set.find(place * view_.vocab_size + before);
    if (found == SortedSet::kNotFound) break;
    place = found;
    entry = view_.entry(level, place);
    score = view_.score(level, entry);
    if (level < highest && next != nullptr) remember(level, before);
  }
  double total = score;
  for (std::size_t length = known; length < state.length; ++length) total += state.backoffs[length];
  if (next != nullptr) *next = after;
  return total;
}

double NgramLm::score_end(const State& state) const {
  return view_.end_word == kUnknown ? 0.0 : score(state, view_.end_word, nullptr);
}

double NgramLm::unigram(WordId word) const {
  const std::uint64_t place = word < view_.vocab_size ? word : kUnknown;
  return view_.score(0, view_.entry(0, place));
}

void NgramLm::verify() const { verify_image(view_, name_); }

}  // namespace edgeasr
