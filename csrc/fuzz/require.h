// What the fuzz targets check with.
#pragma once

#include <cstdio>
#include <cstdlib>

// Not assert(): the targets are compiled with optimisation.
inline void require(bool good, const char* file = __builtin_FILE(), int line = __builtin_LINE()) {
  if (good) return;
  std::fprintf(stderr, "%s:%d: not as required\n", file, line);
  std::abort();
}
