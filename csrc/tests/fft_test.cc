#include "core/fft.h"

#include "core/errors.h"
#include "tests/test.h"

namespace edgeasr {
TEST(placeholder) { CHECK(RealFftPlan::is_supported(512)); }
}
TEST_MAIN()
