// A small test harness. A test file includes it, writes TEST(name) { ... } blocks, and ends with TEST_MAIN().
//
//   #include "tests/test.h"
//   TEST(addition_is_exact) { CHECK_EQ(1 + 1, 2); }
//   TEST_MAIN()
//
// A failed check is reported with file, line and values, and the test goes on; REQUIRE leaves the test.
// The program runs every test, or those whose names contain its first argument, and exits 1 if any failed.
#pragma once

#include <cmath>
#include <cstdio>
#include <exception>
#include <functional>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

namespace edgeasr::test {

struct Case {
  std::string name;
  std::function<void()> body;
};

// Thrown by REQUIRE to leave a test that has already reported its failure.
struct Abandon {};

inline std::vector<Case>& cases() {
  static std::vector<Case> all;
  return all;
}

inline int& failures() {
  static int count = 0;
  return count;
}

struct Registrar {
  Registrar(const char* name, std::function<void()> body) { cases().push_back({name, std::move(body)}); }
};

inline void report(const char* file, int line, const std::string& message) {
  ++failures();
  std::fprintf(stderr, "%s:%d: %s\n", file, line, message.c_str());
}

template <typename T>
std::string show(const T& value) {
  std::ostringstream out;
  out.precision(17);
  out << value;
  return out.str();
}

inline bool check(bool ok, const char* expression, const char* file, int line) {
  if (!ok) report(file, line, std::string("not true: ") + expression);
  return ok;
}

template <typename A, typename B>
bool check_eq(const A& a, const B& b, const char* expression, const char* file, int line) {
  const bool ok = a == b;
  if (!ok) report(file, line, std::string("not equal: ") + expression + " (" + show(a) + " and " + show(b) + ")");
  return ok;
}

inline bool check_near(double a, double b, double tolerance, const char* expression, const char* file, int line) {
  // Written so that a NaN on either side fails.
  const bool ok = std::abs(a - b) <= tolerance;
  if (!ok) {
    report(file, line,
           std::string("not within ") + show(tolerance) + ": " + expression + " (" + show(a) + " and " + show(b) + ")");
  }
  return ok;
}

inline int run(int argc, char** argv) {
  const std::string filter = argc > 1 ? argv[1] : "";
  int failed = 0;
  int count = 0;
  for (const Case& test : cases()) {
    if (test.name.find(filter) == std::string::npos) continue;
    ++count;
    const int before = failures();
    try {
      test.body();
    } catch (const Abandon&) {
      // Already reported.
    } catch (const std::exception& e) {
      report(test.name.c_str(), 0, std::string("unexpected exception: ") + e.what());
    }
    const bool ok = failures() == before;
    failed += ok ? 0 : 1;
    std::printf("%s %s\n", ok ? "ok    " : "FAILED", test.name.c_str());
  }
  std::printf("%d tests, %d failed\n", count, failed);
  return failed == 0 && count > 0 ? 0 : 1;
}

}  // namespace edgeasr::test

#define TEST(name)                                                              \
  static void test_##name();                                                    \
  static const ::edgeasr::test::Registrar registrar_##name(#name, test_##name); \
  static void test_##name()

#define CHECK(condition) ::edgeasr::test::check(static_cast<bool>(condition), #condition, __FILE__, __LINE__)
#define CHECK_EQ(a, b) ::edgeasr::test::check_eq((a), (b), #a " == " #b, __FILE__, __LINE__)
#define CHECK_NEAR(a, b, tolerance) ::edgeasr::test::check_near((a), (b), (tolerance), #a " ~ " #b, __FILE__, __LINE__)

#define REQUIRE(condition)                                   \
  do {                                                       \
    if (!CHECK(condition)) throw ::edgeasr::test::Abandon{}; \
  } while (false)

// The message of the exception is checked by CHECK_THROWS_WITH: it must contain `text`.
#define CHECK_THROWS_WITH(statement, exception, text)                                                               \
  do {                                                                                                              \
    bool caught_ = false;                                                                                           \
    try {                                                                                                           \
      statement;                                                                                                    \
    } catch (const exception& e_) {                                                                                 \
      caught_ = true;                                                                                               \
      if (std::string(e_.what()).find(text) == std::string::npos) {                                                 \
        ::edgeasr::test::report(__FILE__, __LINE__, std::string("message lacks \"") + (text) + "\": " + e_.what()); \
      }                                                                                                             \
    }                                                                                                               \
    if (!caught_) ::edgeasr::test::report(__FILE__, __LINE__, "did not throw " #exception ": " #statement);         \
  } while (false)

#define CHECK_THROWS(statement, exception) CHECK_THROWS_WITH(statement, exception, "")

#define TEST_MAIN() \
  int main(int argc, char** argv) { return ::edgeasr::test::run(argc, argv); }
